import { describe, expect, it } from 'vitest';

import type { Preview, Term, Verdict } from '../api/generated/contract';
import { compare } from './explain';

function verdict(machine: string, terms: Term[], refused = false): Verdict {
  return {
    machine,
    refusals: refused ? [{ reason: 'unreachable' }] : [],
    score: refused ? 0 : terms.reduce((sum, term) => sum + term.value * term.weight, 0),
    terms: refused ? [] : terms,
  };
}

const terms = (evenness: number, calm: number, memory: number): Term[] => [
  { name: 'evenness', value: evenness, weight: 0.5 },
  { name: 'headroom', value: calm, weight: 0.3 },
  { name: 'memory_left', value: memory, weight: 0.2 },
];

const PREVIEW: Preview = {
  verdicts: [
    verdict('atlas', terms(0.6, 0.5, 0.9)),
    verdict('boreas', terms(0.8, 0.9, 0.4)),
    verdict('castor', terms(0.1, 0.1, 0.1)),
    verdict('dione', [], true),
  ],
  best: 'boreas',
};

describe('a comparison', () => {
  it('sets the best beside the runner-up, and names what speaks for it most', () => {
    const found = compare(PREVIEW, 'boreas');
    expect(found).toMatchObject({ kind: 'ahead', other: 'atlas', reasons: ['headroom', 'evenness'] });
    if (found?.kind !== 'ahead') throw new Error('it is ahead');
    expect(found.by).toBeCloseTo(0.12);
    expect(found.differences.map(({ value }) => Math.round(value * 100))).toEqual([10, 12, -10]);
  });

  it('sets every other beside the best, and names what speaks for that', () => {
    expect(compare(PREVIEW, 'atlas')).toMatchObject({ kind: 'behind', other: 'boreas', reasons: ['headroom', 'evenness'] });
    expect(compare(PREVIEW, 'castor')).toMatchObject({ kind: 'behind', other: 'boreas' });
  });

  it('adds up to the difference of the scores', () => {
    const found = compare(PREVIEW, 'castor');
    if (found?.kind !== 'behind') throw new Error('it is behind');
    const sum = found.differences.reduce((total, { value }) => total + value, 0);
    expect(-sum).toBeCloseTo(found.by);
  });

  it('says so where there is nothing to compare with, or no difference', () => {
    const only = { verdicts: [verdict('atlas', terms(1, 1, 1)), verdict('dione', [], true)], best: 'atlas' };
    expect(compare(only, 'atlas')).toEqual({ kind: 'only' });
    const same = { verdicts: [verdict('atlas', terms(1, 1, 1)), verdict('boreas', terms(1, 1, 1))], best: 'atlas' };
    expect(compare(same, 'atlas')).toEqual({ kind: 'equal', other: 'boreas' });
    expect(compare(same, 'boreas')).toEqual({ kind: 'equal', other: 'atlas' });
  });

  it('names what speaks for the best also where that is hardly ahead', () => {
    const verdicts = [verdict('atlas', terms(0.5, 0.5, 0.5)), verdict('boreas', terms(0.5, 0.5, 0.501))];
    expect(compare({ verdicts, best: 'boreas' }, 'boreas')).toMatchObject({ kind: 'ahead', other: 'atlas', reasons: ['memory_left'] });
  });

  it('has nothing to say about a machine that refuses: its reasons do', () => {
    expect(compare(PREVIEW, 'dione')).toBeUndefined();
    expect(compare(PREVIEW, 'unknown')).toBeUndefined();
  });
});
