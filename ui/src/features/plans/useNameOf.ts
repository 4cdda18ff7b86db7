import { useCallback } from 'react';

import type { MadePlan } from '../../api/generated/contract';
import { machineNamer } from '../../domain/naming';
import type { NameOf } from '../../domain/plans';
import { findInstance } from '../../domain/pool';
import { useWords } from '../../i18n/useWords';
import { useSession } from '../../session';

/** Nothing was added. */
const NONE: MadePlan['added'] = [];

/**
 * Names of machines and instances within a sentence; `added` are machines that are only thought. What has left the pool is called by
 * its id.
 */
export function useNameOf(added = NONE): NameOf {
  const session = useSession();
  const words = useWords();
  return useCallback(
    (id: string) => {
      const { pool } = session.pool.getState();
      const machine = pool.machines.get(id);
      if (machine) return machineNamer(words).within(machine);
      return added.find((one) => one.id === id)?.name ?? findInstance(pool, id)?.instance.spec.name ?? id;
    },
    [session, words, added],
  );
}
