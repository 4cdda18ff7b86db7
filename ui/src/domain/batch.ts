import type { BatchFailure } from '../api/generated/contract';
import type { Message } from './message';
import { noPlace, type NameOf } from './plans';

/** How many instances one batch may have. */
export const BATCH_MAX = 20;

/** Why several instances do not all find a place: the whole first, then the one that is left over. */
export function batchRefusal(failure: BatchFailure, apart: boolean, nameOf: NameOf): readonly Message[] {
  if (failure.failure === 'contradiction') {
    const { one, other } = failure.contradiction;
    return [{ key: 'start.several.contradiction', values: { one, other } }];
  }
  const { asked: count, unplaced } = failure;
  const values = { count, placed: count - unplaced.length };
  const first = unplaced[0];
  const why = first ? noPlace(first.why.nearest, first.why.refusals, nameOf) : [];
  // Where only the wish to keep apart stands in the way, how many machines there are says it all.
  const onlyApart = apart && why.length > 0 && why.every(({ key }) => key === 'refusal.not_apart');
  return onlyApart ? [{ key: 'start.several.apart', values }] : [{ key: 'start.several.placed', values }, ...why];
}

/** How many go to each machine, most first, then in the pool's order. */
export function placesOf(machines: readonly string[], order: readonly string[]): readonly (readonly [string, number])[] {
  const counts = new Map<string, number>();
  for (const machine of machines) counts.set(machine, (counts.get(machine) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || order.indexOf(a[0]) - order.indexOf(b[0]));
}
