import { describe, expect, it } from 'vitest';

import type { Preview, Verdict } from '../api/generated/contract';
import { dropOutcome, linkText, refusalText, standingOf, verdictText } from './verdict';

const FITS: Verdict = { machine: 'a', refusals: [], score: 0.6, terms: [] };
const BEST: Verdict = { machine: 'b', refusals: [], score: 0.9, terms: [] };
const REFUSED: Verdict = {
  machine: 'c',
  refusals: [{ reason: 'insufficient_memory', needed_mib: 8192, free_mib: 2048 }],
  score: 0,
  terms: [],
};
const PREVIEW: Preview = { verdicts: [FITS, BEST, REFUSED], best: 'b' };

describe('a verdict', () => {
  it('is the best, fits or is refused', () => {
    expect(PREVIEW.verdicts.map((verdict) => standingOf(verdict, 'b'))).toEqual(['fits', 'best', 'refused']);
  });
  it('names the number', () => {
    expect(verdictText(REFUSED, 'b', 'castor', 0)).toEqual({
      key: 'refusal.insufficient_memory',
      values: { machine: 'castor', needed: 8192, free: 2048 },
    });
    expect(verdictText(BEST, 'b', 'boreas', 512)).toEqual({ key: 'verdict.best', values: { left: 512 } });
    expect(refusalText({ reason: 'no_engine', needed: null }, 'dione').key).toBe('refusal.no_engine');
    expect(refusalText({ reason: 'no_engine', needed: 'microvm' }, 'dione').key).toBe('refusal.no_engine.microvm');
    expect(refusalText({ reason: 'too_many_vcpus', needed: 8, threads: 2 }, 'dione').values).toEqual({
      machine: 'dione',
      needed: 8,
      threads: 2,
    });
  });
});

describe('a drop', () => {
  it('on a machine that fits creates there', () =>
    expect(dropOutcome(PREVIEW, { kind: 'machine', id: 'a' })).toEqual({ kind: 'create', machine: 'a' }));
  it('on open water creates on the best', () =>
    expect(dropOutcome(PREVIEW, { kind: 'water' })).toEqual({ kind: 'create', machine: 'b' }));
  it('on a machine that refuses creates nothing and says why', () =>
    expect(dropOutcome(PREVIEW, { kind: 'machine', id: 'c' })).toEqual({
      kind: 'refused',
      machine: 'c',
      refusals: REFUSED.refusals,
    }));
  it('on open water where nothing fits creates nothing', () =>
    expect(dropOutcome({ verdicts: [REFUSED], best: null }, { kind: 'water' })).toEqual({ kind: 'nowhere_fits' }));
  it('outside the map is taken back', () =>
    expect(dropOutcome(PREVIEW, { kind: 'outside' })).toEqual({ kind: 'cancelled' }));
  it('on a machine that joined since is left to that machine', () =>
    expect(dropOutcome(PREVIEW, { kind: 'machine', id: 'new' })).toEqual({ kind: 'create', machine: 'new' }));
});

it('a link that is down says when it is tried again', () => {
  const link = {
    state: 'unreachable',
    since: '2026-01-31T08:00:00Z',
    error: { code: 'unreachable', message: '', details: {} },
    retry_at: '2026-01-31T08:00:08Z',
  } as const;
  expect(linkText(link, Date.parse('2026-01-31T08:00:00.500Z'))).toEqual({
    key: 'link.unreachable_retry',
    values: { seconds: 8 },
  });
  expect(linkText(link, Date.parse('2026-01-31T08:00:09Z'))).toEqual({ key: 'link.unreachable' });
});
