import { useMemo } from 'react';

import { holdsMemory, phaseOf } from '../../domain/lifecycle';
import { movesOf } from '../../domain/plans';
import { findInstance } from '../../domain/pool';
import type { Floating } from '../../domain/vessel';
import { useSession } from '../../session';

/** What the plan that is looked at would bring to a machine, and take away. */
export interface Planned {
  readonly arriving: readonly (Floating & { readonly name: string })[];
  readonly departing: ReadonlySet<string>;
  /** What finds no place, by its id, wherever it is. */
  readonly stranded: ReadonlySet<string>;
  /** By how much its promised memory would grow, in MiB; less than 0 where more leaves than comes. */
  readonly change: number;
}

const NONE: ReadonlySet<string> = new Set();

const NOTHING: Planned = { arriving: [], departing: NONE, stranded: NONE, change: 0 };

/** What concerns one machine; nothing while no plan is looked at, or it holds no more. */
export function usePlanned(machine: string): Planned {
  const session = useSession();
  const report = session.plans.store((state) => (state.stale ? undefined : state.made?.report));
  return useMemo(() => {
    const moves = report ? movesOf(report) : [];
    const { pool } = session.pool.getState();
    const here = moves.filter(({ to }) => to === machine);
    const away = moves.filter(({ from }) => from === machine);
    const stranded = report && report.stranded.length > 0 ? new Set(report.stranded.map(({ instance }) => instance)) : NONE;
    if (here.length + away.length + stranded.size === 0) return NOTHING;
    const held = (id: string) => {
      const instance = findInstance(pool, id)?.instance;
      return { memoryMib: instance?.spec.memory_mib ?? 0, afloat: instance !== undefined && holdsMemory(phaseOf(instance)) };
    };
    const promised = (all: typeof moves) =>
      all.reduce((sum, { instance }) => sum + (held(instance).afloat ? held(instance).memoryMib : 0), 0);
    return {
      arriving: here.map(({ instance: id, name }) => ({ id, name, ...held(id) })),
      departing: new Set(away.map(({ instance }) => instance)),
      stranded,
      change: promised(here) - promised(away),
    };
  }, [report, machine, session]);
}
