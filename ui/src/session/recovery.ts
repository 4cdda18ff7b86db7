import { create, type StoreApi, type UseBoundStore } from 'zustand';

import type { Recovery } from '../api/generated/contract';
import { heldOf, type Pool } from '../domain/pool';
import type { Platform } from '../platform';
import type { PoolStore } from './pool';

/** Whether the failure of any one machine could be borne; undefined until that is known, and where there is nothing to ask. */
export interface RecoveryState {
  readonly recovery: Recovery | undefined;
}

export type RecoveryStore = UseBoundStore<StoreApi<RecoveryState>>;

/** How long the pool's changes are gathered before they are judged. */
export const JUDGE_MS = 2_000;

/** Keeps the verdict at the pool of now. The answer ends it. */
export function recoveryWatch(
  platform: Pick<Platform, 'call'>,
  pool: PoolStore,
): { readonly store: RecoveryStore; readonly end: () => void } {
  const store = create<RecoveryState>(() => ({ recovery: undefined }));
  let timer: ReturnType<typeof setTimeout> | undefined;
  let judged: string | undefined;

  const judge = async () => {
    timer = undefined;
    const what = matters(pool.getState().pool);
    if (what === judged) return;
    judged = what;
    if (what === undefined) {
      store.setState({ recovery: undefined });
      return;
    }
    try {
      store.setState({ recovery: await platform.call('recovery_check', {}) });
    } catch {
      // Unknown is said by saying nothing; the next change asks again.
      judged = undefined;
      store.setState({ recovery: undefined });
    }
  };
  const unwatch = pool.subscribe((state, before) => {
    if (state.pool !== before.pool) timer ??= setTimeout(() => void judge(), JUDGE_MS);
  });
  return {
    store,
    end: () => {
      unwatch();
      clearTimeout(timer);
    },
  };
}

/**
 * What the verdict can depend on, but for what is only measured: machines, whether they work, and what is on them. Undefined where
 * nothing can fail over: no two machines, or nothing that runs.
 */
function matters(pool: Pool): string | undefined {
  if (pool.machines.size < 2 || pool.places.size === 0) return undefined;
  return [...pool.machines.values()]
    .map(({ id, link, draining, host }) => [id, link.state, draining, host?.memory_offered_mib, heldOf(pool, id)].join(' '))
    .join('\n');
}
