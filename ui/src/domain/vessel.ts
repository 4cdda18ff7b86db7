import type { Mib } from '../api/generated/contract';

/** How large things are drawn, in CSS pixels: few machines are drawn large, many small. */
export interface Scale {
  readonly name: 'hero' | 'roomy' | 'cosy' | 'snug' | 'dense';
  readonly vesselWidth: number;
  readonly heightMax: number;
  readonly heightMin: number;
  readonly gap: number;
  readonly block: BlockMinimum;
  /** Whether the glass has room for marks, in CSS pixels from its right; 0 for none. */
  readonly marks: number;
}

/** The least that a block is drawn with, so that a small instance can still be seen and hit. */
export interface BlockMinimum {
  readonly width: number;
  readonly height: number;
}

function roomy(name: Scale['name'], vesselWidth: number, heightMax: number): Scale {
  return { name, vesselWidth, heightMax, heightMin: 72, gap: 22, block: { width: 58, height: 25 }, marks: 0 };
}

const SCALES: readonly (readonly [machinesMax: number, scale: Scale])[] = [
  [2, {
    name: 'hero',
    vesselWidth: 316,
    heightMax: 360,
    heightMin: 150,
    gap: 36,
    block: { width: 82, height: 34 },
    marks: 44,
  }],
  [5, roomy('roomy', 190, 230)],
  [12, roomy('cosy', 146, 186)],
  [
    40,
    {
      name: 'snug',
      vesselWidth: 132,
      heightMax: 150,
      heightMin: 56,
      gap: 18,
      block: { width: 40, height: 20 },
      marks: 0,
    },
  ],
  [
    Number.POSITIVE_INFINITY,
    {
      name: 'dense',
      vesselWidth: 92,
      heightMax: 92,
      heightMin: 36,
      gap: 12,
      block: { width: 15, height: 11 },
      marks: 0,
    },
  ],
];

const LAST_SCALE = SCALES[SCALES.length - 1] as (typeof SCALES)[number];

/** The scale for a pool of so many machines. */
export function scaleFor(machines: number): Scale {
  return (SCALES.find(([most]) => machines <= most) ?? LAST_SCALE)[1];
}

/**
 * A vessel's height: the square root of its memory against the largest machine's, so that four times the memory is twice the
 * height and a laptop beside a server can still be seen. Never below the scale's least height.
 */
export function vesselHeight(offered: Mib, largest: Mib, scale: Scale): number {
  if (largest <= 0 || offered <= 0) return scale.heightMin;
  const height = Math.round(scale.heightMax * Math.sqrt(Math.min(1, offered / largest)));
  return Math.max(scale.heightMin, height);
}

/** How full a vessel stands, 0..=1; within one vessel water is to scale. */
export function waterLevel(promised: Mib, offered: Mib): number {
  return offered > 0 ? Math.min(1, Math.max(0, promised / offered)) : 0;
}

/** Marks on the vessel's side, as on a measuring jug: about four whole steps of 1, 2 or 5 times a power of ten GiB. */
export function marks(offered: Mib): readonly { readonly mib: Mib; readonly level: number }[] {
  if (offered <= 0) return [];
  const rough = offered / 4;
  const unit = rough >= 1024 ? 1024 : 1;
  const power = 10 ** Math.floor(Math.log10(rough / unit));
  const step = unit * power * ([1, 2, 5, 10].find((factor) => unit * power * factor >= rough) ?? 10);
  const found = [];
  for (let mib = step; mib < offered * 0.97; mib += step) found.push({ mib, level: mib / offered });
  return found;
}

/** What a block needs to be placed. */
export interface Floating {
  readonly id: string;
  readonly memoryMib: Mib;
  /** Blocks that hold no memory lie on top of those that do. */
  readonly afloat: boolean;
}

/** A block's place, in pixels from the vessel's inner bottom left. */
export interface PlacedBlock {
  readonly id: string;
  readonly left: number;
  readonly bottom: number;
  readonly width: number;
  readonly height: number;
}

interface Room {
  readonly width: number;
  readonly height: number;
}

const GAP = 4;
const SHRINK = 0.8;
const SHRINKS_MAX = 12;

/**
 * Packs blocks in rows from the bottom, areas in proportion to memory, none below the least size. What would stand above the
 * rim is drawn smaller until it fits. Pure and stable: large first, then older first, so that a block moves only when it must.
 */
export function layBlocks(
  blocks: readonly Floating[],
  room: Room,
  offered: Mib,
  least: BlockMinimum,
): readonly PlacedBlock[] {
  const ordered = [...blocks].sort(
    (a, b) =>
      Number(b.afloat) - Number(a.afloat) ||
      b.memoryMib - a.memoryMib ||
      (a.id < b.id ? -1 : Number(a.id > b.id)),
  );
  const areaPerMib = offered > 0 ? (room.width * room.height) / offered : 0;
  let minimum = least;
  let packed = pack(ordered, room, areaPerMib, minimum);
  for (let tries = 0; packed.height > room.height && tries < SHRINKS_MAX; tries += 1) {
    minimum = { width: minimum.width * SHRINK, height: minimum.height * SHRINK };
    packed = pack(ordered, room, areaPerMib, minimum);
  }
  return packed.height > room.height ? squeeze(packed, room.height) : packed.placed;
}

interface Packed {
  readonly placed: PlacedBlock[];
  readonly height: number;
}

function pack(blocks: readonly Floating[], room: Room, areaPerMib: number, least: BlockMinimum): Packed {
  const gap = Math.min(GAP, least.height / 5);
  const placed: PlacedBlock[] = [];
  let left = 0;
  let bottom = 0;
  let rowHeight = 0;
  for (const block of blocks) {
    const area = block.memoryMib * areaPerMib;
    const width = Math.min(room.width, Math.max(least.width, area / least.height));
    const height = Math.max(least.height, area / width);
    if (left > 0 && left + width > room.width + 0.01) {
      bottom += rowHeight + gap;
      left = 0;
      rowHeight = 0;
    }
    placed.push({ id: block.id, left, bottom, width, height });
    left += width + gap;
    rowHeight = Math.max(rowHeight, height);
  }
  return { placed, height: bottom + rowHeight };
}

function squeeze(packed: Packed, height: number): PlacedBlock[] {
  const factor = height / packed.height;
  return packed.placed.map((block) => ({
    ...block,
    bottom: block.bottom * factor,
    height: block.height * factor,
  }));
}
