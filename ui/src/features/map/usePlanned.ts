import { useMemo } from 'react';

import { movesOf } from '../../domain/plans';
import { findInstance } from '../../domain/pool';
import type { Floating } from '../../domain/vessel';
import { useSession } from '../../session';

/** What the plan that is looked at would bring to a machine, and take away. */
export interface Planned {
  readonly arriving: readonly (Floating & { readonly name: string })[];
  readonly departing: ReadonlySet<string>;
}

const NOTHING: Planned = { arriving: [], departing: new Set() };

/** The moves that concern one machine; nothing while no plan is looked at, or it holds no more. */
export function usePlanned(machine: string): Planned {
  const session = useSession();
  const report = session.plans.store((state) => (state.stale ? undefined : state.made?.report));
  return useMemo(() => {
    const moves = report ? movesOf(report) : [];
    const { pool } = session.pool.getState();
    const here = moves.filter(({ to }) => to === machine);
    const away = moves.filter(({ from }) => from === machine);
    if (here.length + away.length === 0) return NOTHING;
    return {
      arriving: here.map(({ instance: id, name }) => ({
        id,
        name,
        memoryMib: findInstance(pool, id)?.instance.spec.memory_mib ?? 0,
        afloat: true,
      })),
      departing: new Set(away.map(({ instance }) => instance)),
    };
  }, [report, machine, session]);
}
