import { create, type StoreApi, type UseBoundStore } from 'zustand';

import type { InstanceRequest, Preview, ReserveLost, Template, Verdict } from '../api/generated/contract';
import type { DropTarget } from '../domain/verdict';

/** Something lifted off the shelf. */
export interface Lifted {
  readonly template: Template;
  readonly request: InstanceRequest;
  readonly by: 'pointer' | 'keyboard';
}

/** A drop that the machine has yet to confirm. */
export interface Landing {
  readonly id: string;
  readonly machine: string;
  readonly name: string;
  readonly memoryMib: number;
}

/** The drag under way, if any. */
export interface DragState {
  readonly lifted: Lifted | undefined;
  /** Every machine's answer; absent until it has come. */
  readonly preview: Preview | undefined;
  /** The same by machine. */
  readonly verdicts: ReadonlyMap<string, Verdict>;
  /** Machines that would use up room that is kept for a failure; empty until that is known. */
  readonly reserve: ReadonlyMap<string, ReserveLost>;
  readonly target: DropTarget;
  readonly landings: readonly Landing[];
}

export type DragStore = UseBoundStore<StoreApi<DragState>>;

export const OUTSIDE: DropTarget = { kind: 'outside' };
export const WATER: DropTarget = { kind: 'water' };
const NO_VERDICTS: ReadonlyMap<string, Verdict> = new Map();
const NOTHING_LOST: ReadonlyMap<string, ReserveLost> = new Map();

/** Nothing lifted. */
export const AT_REST: Omit<DragState, 'landings'> = {
  lifted: undefined,
  preview: undefined,
  verdicts: NO_VERDICTS,
  reserve: NOTHING_LOST,
  target: OUTSIDE,
};

/** The drag's state; what moves with the pointer itself stays out of it, so that a move renders nothing. */
export function dragStore(): DragStore {
  return create<DragState>(() => ({ ...AT_REST, landings: [] }));
}

/** The machine that is meant: the one under the card, and over open water the best. */
export function meantMachine(state: Pick<DragState, 'target' | 'preview'>): string | undefined {
  if (state.target.kind === 'machine') return state.target.id;
  return state.preview?.best ?? undefined;
}
