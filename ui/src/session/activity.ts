import { create, type StoreApi, type UseBoundStore } from 'zustand';

import type { ActivityEntry } from '../api/generated/contract';
import type { Platform } from '../platform';

/** The activity list as far as it has been read, newest first. */
export interface ActivityState {
  readonly entries: readonly ActivityEntry[];
  readonly more: boolean;
  readonly add: (entry: ActivityEntry) => void;
  /** Reads the newest page. */
  readonly reread: () => Promise<void>;
  /** Reads the next older page. */
  readonly older: () => Promise<void>;
}

export type ActivityStore = UseBoundStore<StoreApi<ActivityState>>;

const PAGE = 50;
/** Enough to scroll through; the database has the rest. */
const ENTRIES_MAX = 500;

/** The activity list. */
export function activityStore(platform: Pick<Platform, 'call'>): ActivityStore {
  return create<ActivityState>((set, get) => ({
    entries: [],
    more: false,
    add: (entry) => set(({ entries }) => ({ entries: merge([entry], entries) })),
    reread: async () => {
      const page = await platform.call('activity_list', { before: null, limit: PAGE });
      set(({ entries }) => ({ entries: merge(page.entries, entries), more: page.more }));
    },
    older: async () => {
      const oldest = get().entries.at(-1);
      if (!oldest) return;
      const page = await platform.call('activity_list', { before: oldest.id, limit: PAGE });
      set(({ entries }) => ({
        entries: merge(page.entries, entries),
        more: page.more && entries.length + page.entries.length < ENTRIES_MAX,
      }));
    },
  }));
}

function merge(some: readonly ActivityEntry[], others: readonly ActivityEntry[]): readonly ActivityEntry[] {
  const byId = new Map([...others, ...some].map((entry) => [entry.id, entry]));
  return [...byId.values()].sort((a, b) => b.id - a.id).slice(0, ENTRIES_MAX);
}
