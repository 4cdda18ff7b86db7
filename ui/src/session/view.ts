import { create, type StoreApi, type UseBoundStore } from 'zustand';

import type { InstanceRequest, Template } from '../api/generated/contract';

/** What the side panel is about. */
export type Selection =
  | { readonly kind: 'pool' }
  | { readonly kind: 'machine'; readonly id: string }
  /** The plan of the session's plan store. */
  | { readonly kind: 'plan' }
  | { readonly kind: 'instance'; readonly id: string; readonly tab: 'overview' | 'console' };

/** A dialog over the window. */
export type OpenDialog =
  | { readonly kind: 'add_machine' }
  | { readonly kind: 'palette' }
  | { readonly kind: 'what_if' }
  | { readonly kind: 'new_instance'; readonly template: Template | undefined };

/** What a person is looking at. */
export interface ViewState {
  readonly selection: Selection;
  readonly dialog: OpenDialog | undefined;
  readonly activityOpen: boolean;
  /** The sentence that screen readers are told; `turn` makes a repeated sentence new. */
  readonly announced: { readonly text: string; readonly turn: number };
  readonly select: (selection: Selection) => void;
  readonly openDialog: (dialog: OpenDialog | undefined) => void;
  readonly showActivity: (open: boolean) => void;
  readonly announce: (text: string) => void;
}

export type ViewStore = UseBoundStore<StoreApi<ViewState>>;

/** What the window shows, apart from the pool itself. */
export function viewStore(): ViewStore {
  return create<ViewState>((set) => ({
    selection: { kind: 'pool' },
    dialog: undefined,
    activityOpen: false,
    announced: { text: '', turn: 0 },
    select: (selection) => set({ selection }),
    openDialog: (dialog) => set({ dialog }),
    showActivity: (activityOpen) => set({ activityOpen }),
    announce: (text) => set(({ announced }) => ({ announced: { text, turn: announced.turn + 1 } })),
  }));
}

/** What a template asks for when it is dropped. */
export function requestOf(template: Template): InstanceRequest {
  const { image, name_prefix, vcpus, memory_mib, disk_mib, ports } = template;
  return { name: null, name_prefix, image, vcpus, memory_mib, disk_mib, ports };
}
