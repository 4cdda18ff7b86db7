import type {
  InstanceRequest,
  MadePlan,
  Move,
  MoveReason,
  PlanAsk,
  PlanReport,
  PoolPicture,
  PoolState,
  Recovery,
  ReserveLost,
  Stranded,
} from '../../api/generated/contract';
import { idOf } from './scenes';

type Seat = PoolPicture['instances'][number];

const holds = ({ instance }: Seat) => ['running', 'starting', 'stopping', 'paused'].includes(instance.state);

/** The plans of `host-runner/pool`, as far as a picture needs them: what leaves a machine goes where most memory is free. */
export function planOf(ask: PlanAsk, picture: PoolPicture): MadePlan {
  const emptied = ask.ask === 'drain' || ask.ask === 'failure' ? ask.machine : undefined;
  const { moves, stranded } = emptied === undefined ? evenMoves(ask, picture) : leave(emptied, ask, picture);
  const blocked = ask.ask === 'drain' && stranded.length > 0;
  const recovery = recoveryOf(picture);
  const before = stateOf(picture, recovery);
  const kinds = { drain: 'drain', failure: 'what_if', balance: 'balance', save_power: 'consolidate', what_if: 'what_if' } as const;
  const kind = kinds[ask.ask];
  const report: PlanReport = {
    ...(kind === 'drain' ? { kind, machine: emptied ?? '' } : { kind }),
    version: picture.version,
    fingerprint: 'f'.repeat(16),
    depends_on: { machines: [], instances: [] },
    power: [],
    steps: blocked || moves.length === 0 ? [] : [{ moves: moves.slice(0, 2) }, ...moves.slice(2).map((move) => ({ moves: [move] }))],
    left_out: moves.length === 0 && ask.ask === 'balance' ? [{ instance: null, name: null, reason: { reason: 'balanced_enough', imbalance: 0.031, threshold: 0.05 } }] : [],
    stranded,
    before,
    after: moves.length === 0 || blocked ? before : { ...before, imbalance: before.imbalance * 0.4, machines_awake: before.machines_awake - (emptied === undefined ? 0 : 1) },
    found_by: { solver: 'heuristic', proven_optimal: false, stopped_by_limit: false },
    took_ms: 3.4,
  };
  return { id: idOf(800_000), report, added: [] };
}

function leave(machine: string, ask: PlanAsk, picture: PoolPicture): { moves: Move[]; stranded: Stranded[] } {
  const free = freeOf(picture);
  free.delete(machine);
  const moves: Move[] = [];
  const stranded: Stranded[] = [];
  for (const seat of picture.instances.filter((one) => one.machine === machine && holds(one))) {
    const { id, spec } = seat.instance;
    const [to, room] = [...free].sort((a, b) => b[1] - a[1])[0] ?? ['', 0];
    if (spec.memory_mib > room) {
      const refusals = to === '' ? [] : [{ reason: 'insufficient_memory', needed_mib: spec.memory_mib, free_mib: room } as const];
      stranded.push({ instance: id, name: spec.name, nearest: to === '' ? null : to, refusals });
      continue;
    }
    free.set(to, room - spec.memory_mib);
    const reason = ask.ask === 'drain' ? ({ reason: 'drain' } as const) : ({ reason: 'recover' } as const);
    moves.push(moveOf(seat, to, reason, ask.ask === 'drain' ? 'live' : 'cold'));
  }
  return { moves, stranded };
}

function evenMoves(ask: PlanAsk, picture: PoolPicture): { moves: Move[]; stranded: Stranded[] } {
  const free = [...freeOf(picture)].sort((a, b) => b[1] - a[1]);
  const [emptiest, fullest] = [free[0]?.[0], free.at(-1)?.[0]];
  const seat = picture.instances.filter((one) => one.machine === fullest && holds(one)).sort((a, b) => a.instance.spec.memory_mib - b.instance.spec.memory_mib)[0];
  if (ask.ask !== 'balance' || !seat || emptiest === undefined || emptiest === fullest) return { moves: [], stranded: [] };
  return { moves: [moveOf(seat, emptiest, { reason: 'balance', gain: 0.042 }, 'live')], stranded: [] };
}

function moveOf({ machine, instance }: Seat, to: string, reason: MoveReason, how: Move['how']): Move {
  const { name, memory_mib } = instance.spec;
  return { instance: instance.id, name, from: machine, to, how, reason, duration_s: memory_mib / 110 };
}

function freeOf(picture: PoolPicture): Map<string, number> {
  return new Map(
    picture.machines
      .filter(({ link, draining }) => link.state === 'connected' && !draining)
      .map(({ id, usage }) => [id, usage?.memory_free_mib ?? 0]),
  );
}

/** The first machine whose failure would strand something. */
export function recoveryOf(picture: PoolPicture): Recovery {
  const failures = picture.machines.flatMap(({ id, name, link }) => {
    const { stranded } = link.state === 'connected' ? leave(id, { ask: 'failure', machine: id }, picture) : { stranded: [] };
    return stranded.length > 0 ? [{ failure: id, name, stranded }] : [];
  });
  const worst = failures[0];
  return worst ? { verdict: 'stranding', ...worst, failures: failures.length } : { verdict: 'recoverable' };
}

/** Where a new instance would leave too little for some machine's failure. */
export function reserveOf(request: InstanceRequest, picture: PoolPicture): ReserveLost[] {
  if (recoveryOf(picture).verdict !== 'recoverable') return [];
  return picture.machines.flatMap(({ id }) => {
    const machines = picture.machines.map((machine) =>
      machine.id === id && machine.usage
        ? { ...machine, usage: { ...machine.usage, memory_free_mib: machine.usage.memory_free_mib - request.memory_mib } }
        : machine,
    );
    const after = recoveryOf({ ...picture, machines });
    return after.verdict === 'stranding' ? [{ machine: id, failure: after.failure, stranded: after.stranded.length }] : [];
  });
}

function stateOf({ machines, instances }: PoolPicture, recovery: Recovery): PoolState {
  const loads = machines.map(({ usage }) => (usage?.cpu_percent ?? 0) / 100);
  const mean = loads.reduce((sum, load) => sum + load, 0) / Math.max(1, loads.length);
  const memory = machines.map(({ host, usage }) => (usage?.memory_promised_mib ?? 0) / Math.max(1, host?.memory_offered_mib ?? 0));
  return {
    mean_load: { cpu: mean, memory: memory.reduce((sum, one) => sum + one, 0) / Math.max(1, memory.length), disk: 0.1 },
    highest_cpu_load: Math.max(0, ...loads),
    imbalance: Math.sqrt(loads.reduce((sum, load) => sum + (load - mean) ** 2, 0) / Math.max(1, loads.length)),
    recovery,
    power_w: loads.reduce((sum, load) => sum + 60 + 60 * load, 0),
    machines_awake: machines.length,
    instances_placed: instances.length,
  };
}
