import type {
  Changed,
  LeftOutReason,
  Move,
  PlanAsk,
  PlanReport,
  PoolState,
  Recovery,
  StaysAwake,
} from '../api/generated/contract';
import type { Message } from './message';
import { refusalText } from './verdict';

/** A machine's or an instance's name within a sentence, by its id. */
export type NameOf = (id: string) => string;

/** Every move of a plan, in order. */
export function movesOf(plan: Pick<PlanReport, 'steps'>): readonly Move[] {
  return plan.steps.flatMap((step) => step.moves);
}

/** How long a plan takes at least, in milliseconds: each step as long as its longest move. */
export function durationOf(plan: Pick<PlanReport, 'steps'>): number {
  const longest = plan.steps.map((step) => Math.max(0, ...step.moves.map((move) => move.duration_s)));
  return longest.reduce((sum, seconds) => sum + seconds, 0) * 1000;
}

/** What a plan comes down to, in one sentence. */
export function headline(ask: PlanAsk, plan: PlanReport, nameOf: NameOf): Message {
  const moves = movesOf(plan).length;
  const count = plan.stranded.length > 0 ? plan.stranded.length : moves;
  switch (ask.ask) {
    case 'drain': {
      const values = { machine: nameOf(ask.machine), count };
      if (plan.stranded.length > 0) return { key: 'plan.drain.stranded', values };
      return moves === 0 ? { key: 'plan.drain.empty', values } : { key: 'plan.drain.moves', values };
    }
    case 'failure': {
      const values = { machine: nameOf(ask.machine), count };
      if (plan.stranded.length > 0) return { key: 'plan.failure.stranded', values };
      return moves === 0 ? { key: 'plan.failure.nothing', values } : { key: 'plan.failure.starts', values };
    }
    case 'balance':
      return moves === 0 ? { key: 'plan.balance.nothing' } : { key: 'plan.balance.moves', values: { count: moves } };
    case 'save_power': {
      const asleep = plan.power.filter(({ change }) => change === 'sleep').length;
      return asleep === 0
        ? { key: 'plan.save_power.nothing' }
        : { key: 'plan.save_power.sleeps', values: { count: asleep, watts: Math.round(savedWatts(plan)) } };
    }
    case 'what_if':
      if (plan.stranded.length > 0) return { key: 'plan.what_if.stranded', values: { count } };
      return moves === 0 ? { key: 'plan.what_if.nothing' } : { key: 'plan.what_if.moves', values: { count: moves } };
  }
}

function savedWatts(plan: Pick<PlanReport, 'before' | 'after'>): number {
  return Math.max(0, plan.before.power_w - plan.after.power_w);
}

/** Whether it goes on where it comes to; what has lost its machine is started there anew, and brings nothing along. */
export function isCarried({ reason }: Pick<Move, 'reason'>): boolean {
  return reason.reason !== 'recover' && reason.reason !== 'placed';
}

/** Why something is moved; undefined where the plan's title has said it. */
export function moveReason({ reason, from }: Pick<Move, 'reason' | 'from'>, nameOf: NameOf): Message | undefined {
  switch (reason.reason) {
    case 'drain':
      return undefined;
    case 'recover':
      return { key: 'plan.reason.recover' };
    case 'balance':
      return evensOut('plan.reason.balance', reason.gain, {});
    case 'exchange':
      return evensOut('plan.reason.exchange', reason.gain, {
        count: reason.with.length,
        instance: reason.with[0] === undefined ? '' : nameOf(reason.with[0]),
      });
    case 'overload':
      return { key: 'plan.reason.overload', values: { percent: Math.round(reason.load * 100) } };
    case 'empty_for_sleep':
      return { key: 'plan.reason.empty_for_sleep' };
    case 'makes_room':
      return { key: 'plan.reason.makes_room', values: { instance: nameOf(reason.instance) } };
    case 'placed':
      return { key: from === null ? 'plan.reason.placed' : 'plan.reason.recover' };
    case 'breaks_rule':
      return refusalText(reason.rule, from === null ? '' : nameOf(from));
  }
}

/** What is too little for a tenth of a point is told without a number. */
function evensOut(
  key: 'plan.reason.balance' | 'plan.reason.exchange',
  gain: number,
  who: Record<string, string | number>,
): Message {
  if (points(gain) <= 0) return { key: 'plan.reason.balance_little' };
  return { key, values: { ...who, points: points(gain) } };
}

/** Loads as people read them: percentage points, to a tenth. */
function points(share: number): number {
  return Math.round(share * 1000) / 10;
}

/** What stays, and why: those that share their reasons stand together. */
export interface LeftOutGroup {
  /** Empty where it is about the pool as a whole. */
  readonly names: readonly string[];
  readonly reasons: readonly Message[];
}

/** What a plan leaves where it is, the first reason first. */
export function leftOutGroups(plan: Pick<PlanReport, 'left_out'>, nameOf: NameOf): readonly LeftOutGroup[] {
  const groups = new Map<string, { names: string[]; reasons: readonly Message[] }>();
  for (const left of plan.left_out) {
    const reasons = leftOutText(left.reason, nameOf);
    const key = JSON.stringify(reasons);
    const group = groups.get(key) ?? { names: [], reasons };
    if (left.name !== null) group.names.push(left.name);
    groups.set(key, group);
  }
  return [...groups.values()];
}

/** Why something stays where it is. Where no other machine can take it, the nearest one's reasons say more. */
export function leftOutText(reason: LeftOutReason, nameOf: NameOf): readonly Message[] {
  switch (reason.reason) {
    case 'fixed':
      return [{ key: 'plan.left.fixed' }];
    case 'pinned':
      return [{ key: 'plan.left.pinned' }];
    case 'stopped':
      return [{ key: 'plan.left.stopped' }];
    case 'cooldown':
      return [{ key: 'plan.left.cooldown', values: { count: Math.ceil(reason.remaining_s / 60) } }];
    case 'gain_too_small':
      if (points(reason.gain) <= 0) return [{ key: 'plan.left.gain_none' }];
      return [
        { key: 'plan.left.gain_too_small', values: { gain: points(reason.gain), needed: points(reason.needed) } },
      ];
    case 'moves_spent':
      return [{ key: 'plan.left.moves_spent', values: { count: reason.moves_max } }];
    case 'no_place':
      return noPlace(reason.nearest, reason.refusals, nameOf);
    case 'balanced_enough':
      return [
        {
          key: 'plan.left.balanced_enough',
          values: { imbalance: points(reason.imbalance), threshold: points(reason.threshold) },
        },
      ];
    case 'stays_awake':
      return [staysAwake(reason.why, nameOf(reason.machine))];
    case 'too_busy':
      return [{ key: 'plan.left.too_busy', values: { machine: nameOf(reason.machine) } }];
  }
}

function staysAwake(why: StaysAwake, machine: string): Message {
  switch (why.because) {
    case 'recovery':
      return { key: 'plan.left.awake.recovery', values: { machine } };
    case 'awake_min':
      return { key: 'plan.left.awake.min', values: { machine, count: why.machines } };
    case 'saves_too_little':
      return {
        key: 'plan.left.awake.saves_too_little',
        values: { machine, saved: Math.round(why.saved_w), needed: Math.round(why.needed_w) },
      };
  }
}

/** Why nothing can take an instance: the reasons of the machine that lacks least. */
export function noPlace(
  nearest: string | null,
  refusals: Extract<LeftOutReason, { reason: 'no_place' }>['refusals'],
  nameOf: NameOf,
): readonly Message[] {
  if (nearest === null) {
    // What may not move at all asks no machine.
    const tied = refusals.find((refusal) => refusal.reason === 'pinned_elsewhere');
    return [tied === undefined ? { key: 'plan.left.alone' } : refusalText(tied, tied.machine)];
  }
  // It would pass every rule by itself, and has not the room once others of its machine have gone there.
  if (refusals.length === 0) return [{ key: 'plan.left.room_alone', values: { machine: nameOf(nearest) } }];
  return refusals.map((refusal) => refusalText(refusal, nameOf(nearest)));
}

/** Whether one machine's failure could be borne, in one line. */
export function recoveryText(recovery: Recovery, nameOf: NameOf): Message {
  switch (recovery.verdict) {
    case 'recoverable':
      return { key: 'recovery.any' };
    case 'not_judged':
      return { key: 'recovery.not_judged' };
    case 'stranding':
      return {
        key: 'recovery.stranding',
        values: { machine: nameOf(recovery.failure), count: recovery.stranded.length },
      };
  }
}

/** What has changed, so that a plan holds no more. */
export function changedText(changed: Changed, nameOf: NameOf): Message {
  switch (changed.changed) {
    case 'machine_gone':
      return { key: 'plan.changed.machine_gone', values: { machine: changed.name } };
    case 'machine_offer':
      return { key: 'plan.changed.machine_offer', values: { machine: nameOf(changed.machine) } };
    case 'machine_holds':
      return { key: 'plan.changed.machine_holds', values: { machine: nameOf(changed.machine) } };
    case 'instance_gone':
      return { key: 'plan.changed.instance_gone', values: { instance: changed.name } };
    case 'instance_elsewhere':
      return changed.is === null
        ? { key: 'plan.changed.instance_nowhere', values: { instance: changed.name } }
        : { key: 'plan.changed.instance_elsewhere', values: { instance: changed.name, machine: changed.is } };
    case 'instance_needs':
      return { key: 'plan.changed.instance_needs', values: { instance: changed.name } };
  }
}

/** One figure of the pool before and after. */
export interface Figure {
  readonly name: 'cpu' | 'fullest' | 'memory' | 'unevenness' | 'power' | 'awake';
  readonly unit: 'percent' | 'points' | 'watts' | 'count';
  readonly before: number;
  readonly after: number;
}

/** The figures that a plan is judged by. Shares are 0..=1, unevenness is in percentage points. */
export function figuresOf({ before, after }: { before: PoolState; after: PoolState }): readonly Figure[] {
  const figure = (name: Figure['name'], unit: Figure['unit'], of: (state: PoolState) => number): Figure => ({
    name,
    unit,
    before: of(before),
    after: of(after),
  });
  return [
    figure('cpu', 'percent', (state) => state.mean_load.cpu),
    figure('fullest', 'percent', (state) => state.highest_cpu_load),
    figure('memory', 'percent', (state) => state.mean_load.memory),
    figure('unevenness', 'points', (state) => points(state.imbalance)),
    figure('awake', 'count', (state) => state.machines_awake),
    figure('power', 'watts', (state) => Math.round(state.power_w)),
  ];
}
