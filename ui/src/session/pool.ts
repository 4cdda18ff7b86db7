import { create, type StoreApi, type UseBoundStore } from 'zustand';

import type { PoolChange, PoolPicture } from '../api/generated/contract';
import { applyChange, EMPTY_POOL, poolOf, type Pool } from '../domain/pool';
import type { Platform } from '../platform';

/** The live picture, and whether it is. */
export interface PoolState {
  readonly pool: Pool;
  /** Whether a picture has been read at all. */
  readonly read: boolean;
  /** Whether news arrives. */
  readonly live: boolean;
}

export type PoolStore = UseBoundStore<StoreApi<PoolState>>;

/** Keeps the store at the newest picture. */
export interface PoolFeed {
  readonly store: PoolStore;
  /** A change arrived. */
  readonly change: (change: PoolChange) => void;
  /** Reads the whole picture. */
  readonly reread: () => Promise<void>;
  readonly lost: () => void;
}

/** Changes kept while the whole picture is being read; beyond that it is read once more instead. */
const WAITING_MAX = 1000;

/**
 * A feed for the pool. Changes that arrive within one frame reach the components together, so that a busy pool of hundreds
 * of machines costs one pass of rendering a frame. `first` is a picture that is at hand already.
 */
export function poolFeed(
  platform: Pick<Platform, 'call'>,
  schedule: (flush: () => void) => void,
  first?: PoolPicture,
): PoolFeed {
  let newest = first ? poolOf(first) : EMPTY_POOL;
  const store = create<PoolState>(() => ({ pool: newest, read: first !== undefined, live: first !== undefined }));
  let waiting: PoolChange[] | undefined;
  let scheduled = false;

  const flush = () => {
    scheduled = false;
    if (store.getState().pool !== newest) store.setState({ pool: newest });
  };
  const show = (pool: Pool) => {
    newest = pool;
    if (scheduled) return;
    scheduled = true;
    schedule(flush);
  };

  const take = (change: PoolChange) => {
    if (waiting) {
      if (waiting.length < WAITING_MAX) waiting.push(change);
      return;
    }
    const applied = applyChange(newest, change);
    if (applied.kind === 'applied') show(applied.pool);
    else if (applied.kind === 'gap') void reread();
  };

  const reread = async () => {
    if (waiting) return;
    waiting = [];
    try {
      newest = poolOf(await platform.call('pool_get', {}));
      store.setState({ pool: newest, read: true, live: true });
    } catch {
      store.setState({ live: false });
    } finally {
      const missed = waiting;
      waiting = undefined;
      // After a failed read there is nothing to apply them to; the stream's next opening reads again.
      if (store.getState().live) missed.forEach(take);
    }
  };

  return { store, change: take, reread, lost: () => store.setState({ live: false }) };
}

/** Once per frame while the window is seen; at once where there are no frames. */
export function byFrame(flush: () => void): void {
  if (document.hidden) setTimeout(flush, 100);
  else requestAnimationFrame(flush);
}
