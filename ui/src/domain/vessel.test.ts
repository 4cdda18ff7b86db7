import { describe, expect, it } from 'vitest';

import { layBlocks, marks, scaleFor, vesselHeight, waterLevel, type Floating, type Room } from './vessel';

/** The map of a window of 1280 by 800. */
const MAP = { width: 712, height: 687 };
const ROOM = { width: 180, height: 220 };
const LEAST = { width: 60, height: 26 };

function blocks(count: number, memoryMib: number): Floating[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `i${String(index).padStart(3, '0')}`,
    memoryMib,
    afloat: true,
  }));
}

describe("a vessel's height", () => {
  const scale = scaleFor(5, MAP);
  it('is the whole height for the largest machine', () =>
    expect(vesselHeight(65_536, 65_536, scale)).toBe(scale.heightMax));
  it('is half of it for a quarter of the memory', () =>
    expect(vesselHeight(16_384, 65_536, scale)).toBe(scale.heightMax / 2));
  it('is never too small to be seen, also for a machine that was never seen', () => {
    expect(vesselHeight(128, 1_048_576, scale)).toBe(scale.heightMin);
    expect(vesselHeight(0, 0, scale)).toBe(scale.heightMin);
  });
});

describe('the scale', () => {
  const names = (room: Room, counts: number[]) => counts.map((count) => scaleFor(count, room).name);
  it('is large for few machines and small for many', () =>
    expect(names(MAP, [0, 1, 2, 3, 7, 12, 30, 200])).toEqual([
      'hero',
      'hero',
      'hero',
      'roomy',
      'cosy',
      'cosy',
      'snug',
      'dense',
    ]));
  it('grows with the map', () => {
    expect(scaleFor(1, { width: 1352, height: 967 }).heightMax).toBeGreaterThan(scaleFor(1, MAP).heightMax);
    expect(names({ width: 1352, height: 967 }, [2, 10, 20])).toEqual(['hero', 'roomy', 'cosy']);
  });
  it('has two machines stand beside each other, also while a console takes the map’s room', () => {
    const across = (room: Room) => {
      const { vesselWidth, gap } = scaleFor(2, room);
      return 2 * vesselWidth + gap + 56;
    };
    expect(across(MAP) + 32 + 150).toBeLessThanOrEqual(MAP.width);
    expect(across({ width: 356, height: 687 })).toBeLessThanOrEqual(356);
  });
  it('shrinks where a console takes the map’s room', () =>
    expect(scaleFor(1, { width: 356, height: 687 }).vesselWidth).toBeLessThan(scaleFor(1, MAP).vesselWidth));
});

it('water is to scale and stays within the vessel', () => {
  expect(waterLevel(8, 32)).toBe(0.25);
  expect(waterLevel(64, 32)).toBe(1);
  expect(waterLevel(1, 0)).toBe(0);
});

describe('the marks on the glass', () => {
  it('are powers of two', () => {
    expect(marks(23_347).map((mark) => mark.mib / 1024)).toEqual([8, 16]);
    expect(marks(65_536).map((mark) => mark.mib / 1024)).toEqual([16, 32, 48]);
    expect(marks(4000).map((mark) => mark.mib)).toEqual([1024, 2048, 3072]);
    expect(marks(2048).map((mark) => mark.mib)).toEqual([512, 1024, 1536]);
    expect(marks(600).map((mark) => mark.mib)).toEqual([256, 512]);
  });
  it('are none for nothing', () => expect(marks(0)).toEqual([]));
});

describe('blocks', () => {
  it('have areas in proportion to their memory where they are larger than the least', () => {
    const [large, small] = layBlocks(
      [
        { id: 'a', memoryMib: 16_384, afloat: true },
        { id: 'b', memoryMib: 8192, afloat: true },
      ],
      ROOM,
      32_768,
      LEAST,
    );
    const area = (block: typeof large) => (block ? block.width * block.height : 0);
    expect(area(large) / area(small)).toBeCloseTo(2);
  });

  it.each([1, 7, 20, 100, 500])('%d of them stay within the glass and never overlap', (count) => {
    const placed = layBlocks(blocks(count, 512), ROOM, 32_768, LEAST);
    expect(placed).toHaveLength(count);
    const outside = placed.filter(
      (block) =>
        block.left + block.width > ROOM.width + 0.01 || block.bottom + block.height > ROOM.height + 0.01,
    );
    expect(outside).toEqual([]);
    const overlapping = placed.filter((block, index) =>
      placed
        .slice(index + 1)
        .some(
          (other) =>
            block.left + block.width > other.left + 0.01 &&
            other.left + other.width > block.left + 0.01 &&
            block.bottom + block.height > other.bottom + 0.01 &&
            other.bottom + other.height > block.bottom + 0.01,
        ),
    );
    expect(overlapping).toEqual([]);
  });

  it('that are stopped lie on top of those that hold memory', () => {
    const placed = layBlocks(
      [
        { id: 'stopped', memoryMib: 8192, afloat: false },
        { id: 'running', memoryMib: 1024, afloat: true },
      ],
      ROOM,
      32_768,
      LEAST,
    );
    expect(placed.map((block) => block.id)).toEqual(['running', 'stopped']);
  });

  it('do not depend on the order in which they are given', () => {
    const some = [...blocks(5, 512), ...blocks(2, 4096).map((block) => ({ ...block, id: `${block.id}x` }))];
    expect(layBlocks([...some].reverse(), ROOM, 32_768, LEAST)).toEqual(layBlocks(some, ROOM, 32_768, LEAST));
  });
});
