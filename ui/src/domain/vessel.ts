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

/** Room on the screen, in CSS pixels. */
export interface Room {
  readonly width: number;
  readonly height: number;
}

/** What stands around the vessels: the map's margins, its title, and a caption below each vessel. */
const AROUND = { sides: 56, title: 64, caption: 96 } as const;

const ROOMY: Scale = {
  name: 'roomy',
  vesselWidth: 190,
  heightMax: 230,
  heightMin: 72,
  gap: 24,
  block: { width: 62, height: 26 },
  marks: 0,
};
/** As wide as two machines side by side may be in a window of 1280 by 800 whose console is open. */
const COSY: Scale = { ...ROOMY, name: 'cosy', vesselWidth: 138, heightMax: 186, gap: 20, block: { width: 60, height: 25 } };
const SNUG: Scale = {
  name: 'snug',
  vesselWidth: 132,
  heightMax: 150,
  heightMin: 56,
  gap: 18,
  block: { width: 40, height: 20 },
  marks: 0,
};
const DENSE: Scale = {
  name: 'dense',
  vesselWidth: 92,
  heightMax: 92,
  heightMin: 36,
  gap: 12,
  block: { width: 15, height: 11 },
  marks: 0,
};

/** The place where a machine is added, beside one or two machines. */
const ADD_WIDTH = 150;
const HERO_GAP = 32;
/** Narrower than this, a machine is not drawn as one of few. */
const HERO_WIDTH_MIN = 200;

/** One or two machines, and the place where one is added, fill the map as far as it is large. */
function hero(machines: number, room: Room): Scale {
  const heightMax = Math.min(520, Math.max(220, Math.round((room.height * 0.52) / 20) * 20));
  const each = (room.width - AROUND.sides - ADD_WIDTH) / Math.max(1, machines) - HERO_GAP;
  return {
    name: 'hero',
    vesselWidth: Math.max(HERO_WIDTH_MIN, Math.min(Math.round(heightMax * 0.88), Math.floor(each))),
    heightMax,
    heightMin: 150,
    gap: HERO_GAP,
    block: { width: 82, height: 34 },
    marks: 44,
  };
}

/** With more machines than this a scale is too large to see the pool as a whole, however large the screen. */
const MACHINES_MAX: Readonly<Record<Scale['name'], number>> = {
  hero: 2,
  roomy: 16,
  cosy: 32,
  snug: 80,
  dense: Number.POSITIVE_INFINITY,
};

/** With so few machines a scale is never left, though some have to be scrolled to. */
const MACHINES_MIN: Readonly<Partial<Record<Scale['name'], number>>> = { cosy: 12, snug: 40 };

/** The largest scale at which so many machines can be seen at once; beyond that, one by their number. */
export function scaleFor(machines: number, room: Room): Scale {
  const scales = [hero(machines, room), ROOMY, COSY, SNUG];
  const fitting = scales.find(
    (scale) =>
      machines <= MACHINES_MAX[scale.name] &&
      (seenAtOnce(machines, scale, room) || machines <= (MACHINES_MIN[scale.name] ?? 0)),
  );
  return fitting ?? DENSE;
}

function seenAtOnce(machines: number, scale: Scale, room: Room): boolean {
  const across = Math.floor((room.width - AROUND.sides + scale.gap) / (scale.vesselWidth + scale.gap));
  if (across < 1) return false;
  const rows = Math.ceil(Math.max(1, machines) / across);
  return rows * (scale.heightMax + AROUND.caption) <= room.height - AROUND.title;
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

/** Marks on the vessel's side, as on a measuring jug: at most four steps, each a power of two, as memory itself is sold. */
export function marks(offered: Mib): readonly { readonly mib: Mib; readonly level: number }[] {
  if (offered <= 0) return [];
  const step = 2 ** Math.ceil(Math.log2(offered / 4));
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

/** Less room than this above the blocks is none. */
const GHOST_PX_MIN = 8;

/**
 * Where blocks that are only thought of would lie: above those that are there, which do not move for them. None where there is no room
 * to draw in.
 */
export function layGhosts(
  arriving: readonly Floating[],
  placed: readonly PlacedBlock[],
  room: Room,
  offered: Mib,
  least: BlockMinimum,
): readonly PlacedBlock[] {
  const top = placed.length === 0 ? 0 : Math.max(...placed.map(({ bottom, height }) => bottom + height)) + GAP;
  const height = room.height - top;
  if (arriving.length === 0 || height < GHOST_PX_MIN) return [];
  // The part of the offer that this part of the vessel stands for, so that areas stay in proportion.
  const ghosts = layBlocks(arriving, { width: room.width, height }, (offered * height) / room.height, least);
  return ghosts.map((ghost) => ({ ...ghost, bottom: ghost.bottom + top }));
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
