import { create, type StoreApi, type UseBoundStore } from 'zustand';

import type { Changed, MadePlan, PlanAsk } from '../api/generated/contract';
import { CommandRefused, type Platform } from '../platform';
import type { PoolStore } from './pool';
import type { ViewStore } from './view';

/** The plan that is being looked at. */
export interface PlanState {
  readonly ask: PlanAsk | undefined;
  readonly asking: boolean;
  /** The answer to `ask`; while it is asked for again, the one before. */
  readonly made: MadePlan | undefined;
  /** Why there is none. */
  readonly refused: CommandRefused | undefined;
  /** What has changed in the pool since, so that the plan holds no more; null where only that it did is known. */
  readonly stale: { readonly change: Changed | null } | undefined;
}

export type PlanStore = UseBoundStore<StoreApi<PlanState>>;

/** Plans: asked for, shown, and watched for whether they still hold. */
export interface Plans {
  readonly store: PlanStore;
  /** Asks for a plan and shows it in the side panel. */
  readonly make: (ask: PlanAsk) => Promise<void>;
  /** Stops watching. */
  readonly end: () => void;
}

/** How often a plan that is looked at is asked about while the pool changes. */
export const CHECK_MS = 3_000;

const NO_PLAN: PlanState = { ask: undefined, asking: false, made: undefined, refused: undefined, stale: undefined };

interface Needs {
  readonly platform: Pick<Platform, 'call'>;
  readonly pool: PoolStore;
  readonly view: ViewStore;
}

export function planKeeper({ platform, pool, view }: Needs): Plans {
  const store = create<PlanState>(() => NO_PLAN);
  let timer: ReturnType<typeof setTimeout> | undefined;

  const check = async () => {
    timer = undefined;
    const { made, stale } = store.getState();
    if (!made || stale) return;
    try {
      const answer = await platform.call('plan_check', { plan: made.id });
      if (store.getState().made !== made || answer.standing === 'holds') return;
      store.setState({ stale: { change: answer.standing === 'changed' ? answer.change : null } });
    } catch {
      // The next change asks again; that nothing answers is said elsewhere.
    }
  };
  const unwatch = pool.subscribe((state, before) => {
    if (state.pool === before.pool || timer !== undefined || !store.getState().made) return;
    timer = setTimeout(() => void check(), CHECK_MS);
  });
  const unview = view.subscribe(({ selection }) => {
    if (selection.kind !== 'plan' && store.getState().ask !== undefined) store.setState(NO_PLAN);
  });

  return {
    store,
    make: async (ask) => {
      const again = store.getState().ask === ask;
      store.setState(again ? { asking: true, refused: undefined } : { ...NO_PLAN, ask, asking: true });
      view.getState().select({ kind: 'plan' });
      try {
        const made = await platform.call('plan_make', { ask });
        if (store.getState().ask === ask) store.setState({ made, asking: false, stale: undefined });
      } catch (thrown) {
        if (!(thrown instanceof CommandRefused)) throw thrown;
        if (store.getState().ask === ask) {
          store.setState({ made: undefined, asking: false, refused: thrown, stale: undefined });
        }
      }
    },
    end: () => {
      unwatch();
      unview();
      clearTimeout(timer);
    },
  };
}
