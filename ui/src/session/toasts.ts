import { create, type StoreApi, type UseBoundStore } from 'zustand';

import type { ApiError } from '../api/generated/contract';
import type { Message } from '../domain/message';

/** What a notice says: a sentence, an error, or what a drop ran into. */
export type ToastBody =
  | { readonly kind: 'said'; readonly message: Message }
  | { readonly kind: 'error'; readonly error: ApiError; readonly machine: string | null; readonly requestId: string }
  /** Of several, one was refused, and what was done was taken back; `left` could not be. */
  | { readonly kind: 'undone'; readonly machine: string; readonly error: ApiError; readonly left: readonly string[] }
  | { readonly kind: 'refused'; readonly title: Message; readonly reasons: readonly Message[] };

/** A notice at the bottom of the window. */
export interface Toast {
  readonly id: number;
  readonly body: ToastBody;
  /** What the notice's one button does; it carries the word for it. */
  readonly act?: { readonly label: Message; readonly run: () => void };
  /** When it leaves by itself. */
  readonly ms: number;
}

export interface ToastState {
  readonly toasts: readonly Toast[];
  readonly show: (body: ToastBody, options?: { ms?: number; act?: Toast['act'] }) => number;
  readonly dismiss: (id: number) => void;
}

export type ToastStore = UseBoundStore<StoreApi<ToastState>>;

/** More at once than anybody reads. */
const TOASTS_MAX = 4;
const SAID_MS = 5_000;
const TROUBLE_MS = 12_000;

/** The window's notices. */
export function toastStore(): ToastStore {
  let last = 0;
  return create<ToastState>((set) => ({
    toasts: [],
    show: (body, { ms, act } = {}) => {
      last += 1;
      const toast: Toast = {
        id: last,
        body,
        ms: ms ?? (body.kind === 'said' ? SAID_MS : TROUBLE_MS),
        ...(act ? { act } : {}),
      };
      set(({ toasts }) => ({ toasts: [...toasts, toast].slice(-TOASTS_MAX) }));
      return toast.id;
    },
    dismiss: (id) => set(({ toasts }) => ({ toasts: toasts.filter((toast) => toast.id !== id) })),
  }));
}
