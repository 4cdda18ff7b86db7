import { describe, expect, it } from 'vitest';

import type { BatchFailure, Refusal } from '../api/generated/contract';
import { batchRefusal, placesOf } from './batch';
import { editsFrom, UNCHANGED, whatIfProblem } from './whatIf';

const nameOf = (id: string) => (id === 'a' ? 'atlas' : id);

function failing(refusals: Refusal[], nearest: string | null = 'a'): BatchFailure {
  const why = { machines: 2, refused_by: [], nearest, nearest_name: null, refusals };
  return { failure: 'no_place', asked: 3, unplaced: [{ instance: 'i', name: 'web-3', why }], proven: true };
}

describe('several that do not all find a place', () => {
  const memory: Refusal = { reason: 'insufficient_memory', needed_mib: 2048, free_mib: 512 };

  it('are told by how many do, and why the next does not', () =>
    expect(batchRefusal(failing([memory]), false, nameOf)).toEqual([
      { key: 'start.several.placed', values: { count: 3, placed: 2 } },
      { key: 'refusal.insufficient_memory', values: { machine: 'atlas', needed: 2048, free: 512 } },
    ]));

  it('are told by the number of machines where only their distance stands in the way', () =>
    expect(batchRefusal(failing([{ reason: 'not_apart', from: 'web-1' }]), true, nameOf)).toEqual([
      { key: 'start.several.apart', values: { count: 3, placed: 2 } },
    ]));

  it('are told in full where more than their distance does', () =>
    expect(batchRefusal(failing([memory, { reason: 'not_apart', from: 'web-1' }]), true, nameOf)).toHaveLength(3));

  it('are told that there is no other machine', () =>
    expect(batchRefusal(failing([], null), false, nameOf).at(-1)).toEqual({ key: 'plan.left.alone' }));
});

it('places are counted by machine, most first, then in the pool’s order', () => {
  expect(placesOf(['c', 'a', 'b', 'a'], ['a', 'b', 'c'])).toEqual([
    ['a', 2],
    ['b', 1],
    ['c', 1],
  ]);
});

describe('a question about another pool', () => {
  it('changes nothing at first, and is none then', () => expect(editsFrom(UNCHANGED)).toBeUndefined());

  it('takes a machine away last, so that one like it can be added', () =>
    expect(editsFrom({ without: 'a', like: 'a', count: '2', percent: '150' })).toEqual([
      { edit: 'add_machines_like', machine: 'a', count: 2 },
      { edit: 'scale_load', percent: 150 },
      { edit: 'remove_machine', machine: 'a' },
    ]));

  it.each(['0', '17', '1.5', '', 'x'])('adds no %s machines', (count) => {
    expect(whatIfProblem('count', { ...UNCHANGED, count })?.values).toEqual({ min: 1, max: 16 });
    expect(editsFrom({ ...UNCHANGED, like: 'a', count })).toBeUndefined();
  });
});
