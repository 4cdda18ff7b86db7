import { describe, expect, it } from 'vitest';

import type { MoveReason, PlanAsk, PlanReport } from '../api/generated/contract';
import { planOf } from '../platform/testing/plans';
import { idOf, SCENES } from '../platform/testing/scenes';
import {
  changedText,
  durationOf,
  figuresOf,
  headline,
  isCarried,
  leftOutGroups,
  leftOutText,
  moveReason,
  movesOf,
  noPlace,
  recoveryText,
} from './plans';

const picture = SCENES['seven']?.() ?? { version: 1, machines: [], instances: [] };
const nameOf = (id: string) => picture.machines.find((machine) => machine.id === id)?.name ?? id;
const reportOf = (ask: PlanAsk): PlanReport => planOf(ask, picture).report;
const DRAIN: PlanAsk = { ask: 'drain', machine: idOf(3) };

describe('a plan comes down to one sentence', () => {
  const report = reportOf(DRAIN);
  const nothing = { ...report, steps: [], stranded: [], power: [] };
  const stranded = { ...nothing, stranded: [{ instance: idOf(1), name: 'db-1', nearest: null, refusals: [] }] };

  it('with how many moves it takes', () =>
    expect(headline(DRAIN, report, nameOf)).toEqual({ key: 'plan.drain.moves', values: { machine: 'boreas', count: 2 } }));

  it('or with what finds no place', () => {
    expect(headline(DRAIN, stranded, nameOf)).toEqual({
      key: 'plan.drain.stranded',
      values: { machine: 'boreas', count: 1 },
    });
    expect(headline({ ask: 'failure', machine: idOf(3) }, stranded, nameOf).key).toBe('plan.failure.stranded');
    expect(headline({ ask: 'what_if', edits: [] }, stranded, nameOf).key).toBe('plan.what_if.stranded');
  });

  it('or with why nothing has to move', () => {
    const asks: PlanAsk[] = [DRAIN, { ask: 'failure', machine: idOf(3) }, { ask: 'balance' }, { ask: 'save_power' }, { ask: 'what_if', edits: [] }];
    expect(asks.map((ask) => headline(ask, nothing, nameOf).key)).toEqual([
      'plan.drain.empty',
      'plan.failure.nothing',
      'plan.balance.nothing',
      'plan.save_power.nothing',
      'plan.what_if.nothing',
    ]);
  });

  it('with the machines that can sleep, and what that saves', () => {
    const sleeping: PlanReport = {
      ...nothing,
      power: [{ change: 'sleep', machine: idOf(7) }],
      after: { ...report.before, power_w: report.before.power_w - 61.4 },
    };
    expect(headline({ ask: 'save_power' }, sleeping, nameOf)).toEqual({
      key: 'plan.save_power.sleeps',
      values: { count: 1, watts: 61 },
    });
  });
});

it('a plan takes as long as its steps, each as long as its longest move', () => {
  const [first] = movesOf(reportOf(DRAIN));
  if (!first) throw new Error('it has moves');
  const steps = [{ moves: [{ ...first, duration_s: 3 }, { ...first, duration_s: 9 }] }, { moves: [{ ...first, duration_s: 2 }] }];
  expect(durationOf({ steps })).toBe(11_000);
  expect(durationOf({ steps: [] })).toBe(0);
});

it('a move says why, unless the plan itself has', () => {
  const rule = { reason: 'not_apart', from: 'web-1' } as const;
  const reasons: [MoveReason, string | undefined][] = [
    [{ reason: 'drain' }, undefined],
    [{ reason: 'recover' }, 'plan.reason.recover'],
    [{ reason: 'balance', gain: 0.0421 }, 'plan.reason.balance'],
    [{ reason: 'balance', gain: 0.0002 }, 'plan.reason.balance_little'],
    [{ reason: 'exchange', with: [idOf(1)], gain: 0.0421 }, 'plan.reason.exchange'],
    [{ reason: 'exchange', with: [idOf(1)], gain: 0.0002 }, 'plan.reason.balance_little'],
    [{ reason: 'overload', load: 0.97 }, 'plan.reason.overload'],
    [{ reason: 'empty_for_sleep' }, 'plan.reason.empty_for_sleep'],
    [{ reason: 'makes_room', instance: idOf(1) }, 'plan.reason.makes_room'],
    [{ reason: 'placed' }, 'plan.reason.recover'],
    [{ reason: 'breaks_rule', rule }, 'refusal.not_apart'],
  ];
  for (const [reason, key] of reasons) expect(moveReason({ reason, from: idOf(2) }, nameOf)?.key, reason.reason).toBe(key);
  expect(moveReason({ reason: { reason: 'balance', gain: 0.0421 }, from: null }, nameOf)?.values).toEqual({ points: 4.2 });
  expect(moveReason({ reason: { reason: 'placed' }, from: null }, nameOf)?.key).toBe('plan.reason.placed');
});

it('what has lost its machine is not carried to the next: it starts anew', () => {
  expect(isCarried({ reason: { reason: 'balance', gain: 0.1 } })).toBe(true);
  expect(isCarried({ reason: { reason: 'recover' } })).toBe(false);
  expect(isCarried({ reason: { reason: 'placed' } })).toBe(false);
});

it('those that stay for the same reason stand together', () => {
  const left = (instance: string | null, name: string | null, gain: number) => ({
    instance,
    name,
    reason: { reason: 'gain_too_small', gain, needed: 0.004 } as const,
  });
  const left_out = [left(idOf(1), 'web-1', -0.02), left(idOf(2), 'wiki', 0.002), left(idOf(3), 'web-2', -0.03)];
  expect(leftOutGroups({ left_out }, nameOf)).toEqual([
    { names: ['web-1', 'web-2'], reasons: [{ key: 'plan.left.gain_none' }] },
    { names: ['wiki'], reasons: [{ key: 'plan.left.gain_too_small', values: { gain: 0.2, needed: 0.4 } }] },
  ]);
  const whole = { instance: null, name: null, reason: { reason: 'balanced_enough', imbalance: 0.03, threshold: 0.05 } as const };
  expect(leftOutGroups({ left_out: [whole] }, nameOf).map(({ names }) => names)).toEqual([[]]);
});

it('what stays has a reason with its numbers', () => {
  expect(leftOutText({ reason: 'moves_spent', moves_max: 2 }, nameOf)).toEqual([
    { key: 'plan.left.moves_spent', values: { count: 2 } },
  ]);
  expect(leftOutText({ reason: 'cooldown', remaining_s: 61 }, nameOf)).toEqual([
    { key: 'plan.left.cooldown', values: { count: 2 } },
  ]);
  expect(leftOutText({ reason: 'balanced_enough', imbalance: 0.031, threshold: 0.05 }, nameOf)[0]?.values).toEqual({
    imbalance: 3.1,
    threshold: 5,
  });
  expect(
    leftOutText(
      { reason: 'stays_awake', machine: idOf(2), machine_name: 'x', why: { because: 'saves_too_little', saved_w: 4.6, needed_w: 10 } },
      nameOf,
    ),
  ).toEqual([{ key: 'plan.left.awake.saves_too_little', values: { machine: 'atlas', saved: 5, needed: 10 } }]);
});

it('what finds no place is told by the machine that lacks least', () => {
  const refusal = { reason: 'insufficient_memory', needed_mib: 8192, free_mib: 2048 } as const;
  expect(noPlace(idOf(4), [refusal], nameOf)).toEqual([
    { key: 'refusal.insufficient_memory', values: { machine: 'castor', needed: 8192, free: 2048 } },
  ]);
  expect(noPlace(null, [], nameOf)).toEqual([{ key: 'plan.left.alone' }]);
  expect(noPlace(idOf(4), [], nameOf)).toEqual([{ key: 'plan.left.room_alone', values: { machine: 'castor' } }]);
});

it('what may not move is told by its tie, and asks no machine', () => {
  expect(noPlace(null, [{ reason: 'pinned_elsewhere', machine: 'atlas' }], nameOf)).toEqual([
    { key: 'refusal.pinned_elsewhere', values: { pinned: 'atlas' } },
  ]);
});

it('a failure that cannot be borne names the machine and counts what is stranded', () => {
  expect(recoveryText({ verdict: 'recoverable' }, nameOf).key).toBe('recovery.any');
  const stranded = [{ instance: idOf(1), name: 'files', nearest: null, refusals: [] }];
  expect(recoveryText({ verdict: 'stranding', failure: idOf(2), name: 'x', stranded, failures: 1 }, nameOf)).toEqual({
    key: 'recovery.stranding',
    values: { machine: 'atlas', count: 1 },
  });
});

it('a plan that holds no more says what has changed', () => {
  expect(changedText({ changed: 'instance_elsewhere', instance: idOf(1), name: 'db-1', is: 'castor' }, nameOf)).toEqual({
    key: 'plan.changed.instance_elsewhere',
    values: { instance: 'db-1', machine: 'castor' },
  });
  expect(changedText({ changed: 'instance_elsewhere', instance: idOf(1), name: 'db-1', is: null }, nameOf).key).toBe(
    'plan.changed.instance_nowhere',
  );
  expect(changedText({ changed: 'machine_holds', machine: idOf(2), name: 'x' }, nameOf).values).toEqual({ machine: 'atlas' });
});

it('the pool before and after stands in figures that people read', () => {
  const figures = figuresOf(reportOf(DRAIN));
  expect(figures.map(({ name }) => name)).toEqual(['cpu', 'fullest', 'memory', 'unevenness', 'awake', 'power']);
  expect(figures.find(({ name }) => name === 'awake')).toMatchObject({ before: 7, after: 6 });
});
