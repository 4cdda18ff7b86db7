import type { Preview, TermName, Verdict } from '../api/generated/contract';

/** One part of what sets two machines apart. */
export interface Difference {
  readonly name: TermName;
  /** By how much it lifts the one's score above the other's; negative where it lowers it. */
  readonly value: number;
}

/** How a machine compares with the one that matters: for the best the runner-up, for any other the best. */
export type Comparison =
  | { readonly kind: 'only' }
  | { readonly kind: 'equal'; readonly other: string }
  | {
      readonly kind: 'ahead' | 'behind';
      readonly other: string;
      /** The scores' difference, above 0. */
      readonly by: number;
      /** What speaks most for the one that is ahead, at most two. */
      readonly reasons: readonly TermName[];
      /** Every term's share in the difference, as seen from the machine itself. */
      readonly differences: readonly Difference[];
    };

/** Scores closer than this are the same: sums of measured numbers differ in their last digits. */
const SAME = 1e-9;

/** How many reasons one sentence bears. */
const REASONS_MAX = 2;

/** Compares a machine that fits; undefined for one that does not. */
export function compare(preview: Preview, machine: string): Comparison | undefined {
  const own = preview.verdicts.find((verdict) => verdict.machine === machine);
  if (!own || own.refusals.length > 0) return undefined;
  const others = preview.verdicts.filter((verdict) => verdict !== own && verdict.refusals.length === 0);
  const other =
    machine === preview.best
      ? others.reduce<Verdict | undefined>((found, one) => (found && found.score >= one.score ? found : one), undefined)
      : others.find((verdict) => verdict.machine === preview.best);
  if (!other) return { kind: 'only' };
  const by = own.score - other.score;
  if (Math.abs(by) < SAME) return { kind: 'equal', other: other.machine };
  const differences = differencesOf(own, other);
  const ahead = by > 0;
  const reasons = differences
    .map(({ name, value }) => ({ name, value: ahead ? value : -value }))
    .filter(({ value }) => value > 0)
    .sort((a, b) => b.value - a.value)
    .slice(0, REASONS_MAX);
  return {
    kind: ahead ? 'ahead' : 'behind',
    other: other.machine,
    by: Math.abs(by),
    reasons: reasons.map(({ name }) => name),
    differences,
  };
}

/** Which terms count does not depend on the machine, but an answer that left one out would be compared by name all the same. */
function differencesOf(own: Verdict, other: Verdict): readonly Difference[] {
  const values = new Map(other.terms.map((term) => [term.name, term.value]));
  return own.terms.map(({ name, value, weight }) => ({ name, value: weight * (value - (values.get(name) ?? 0)) }));
}
