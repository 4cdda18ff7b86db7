import { create, type StoreApi, type UseBoundStore } from 'zustand';

import type { Template } from '../api/generated/contract';
import type { Platform } from '../platform';

/** The shelf. */
export interface TemplateState {
  readonly templates: readonly Template[];
  readonly state: 'reading' | 'read' | 'failed';
  readonly reread: () => Promise<void>;
}

export type TemplateStore = UseBoundStore<StoreApi<TemplateState>>;

/** What can be dragged. */
export function templateStore(platform: Pick<Platform, 'call'>, first?: readonly Template[]): TemplateStore {
  return create<TemplateState>((set) => ({
    templates: first ?? [],
    state: first ? 'read' : 'reading',
    reread: async () => {
      try {
        set({ templates: await platform.call('templates_list', {}), state: 'read' });
      } catch {
        set({ state: 'failed' });
      }
    },
  }));
}
