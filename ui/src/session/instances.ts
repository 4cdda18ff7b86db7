import { create, type StoreApi, type UseBoundStore } from 'zustand';

import type { Batch, Instance, InstanceAction, InstanceRequest } from '../api/generated/contract';
import { uuidV7 } from '../domain/uuid';
import { CommandRefused, type Platform } from '../platform';
import type { DragStore } from './drag';
import type { ToastStore } from './toasts';
import type { ViewStore } from './view';

/** Instances that will be deleted once the time for regret is over. */
export interface LeavingState {
  readonly leaving: ReadonlySet<string>;
}

export type LeavingStore = UseBoundStore<StoreApi<LeavingState>>;

/** Everything that the window does to instances; menus, keys, buttons and drags all end here. */
export interface Instances {
  readonly leaving: LeavingStore;
  /** Creates one and starts it; false when that was refused, which has then been said. */
  readonly create: (request: InstanceRequest, machine: string | null) => Promise<boolean>;
  /** Creates several as one decision and starts them; false when not all could be, which has then been said and undone. */
  readonly createSeveral: (batch: Batch) => Promise<boolean>;
  readonly act: (machine: string, instance: Instance, action: InstanceAction) => Promise<void>;
}

/** How long a delete can be taken back. */
export const REGRET_MS = 6_000;

interface Needs {
  readonly platform: Pick<Platform, 'call'>;
  readonly toasts: ToastStore;
  readonly view: ViewStore;
  readonly drag: DragStore;
}

/** Says why something was not done. */
export function tellRefusal(toasts: ToastStore, thrown: unknown): void {
  if (!(thrown instanceof CommandRefused)) throw thrown;
  const { error, machine, requestId } = thrown;
  toasts.getState().show({ kind: 'error', error, machine, requestId });
}

export function instanceActions({ platform, toasts, view, drag }: Needs): Instances {
  const leaving = create<LeavingState>(() => ({ leaving: new Set() }));

  const settle = (id: string) =>
    leaving.setState((state) => ({ leaving: new Set([...state.leaving].filter((one) => one !== id)) }));

  const deleteLater = (machine: string, instance: Instance) => {
    if (leaving.getState().leaving.has(instance.id)) return;
    leaving.setState((state) => ({ leaving: new Set([...state.leaving, instance.id]) }));
    const values = { name: instance.spec.name };
    const timer = setTimeout(() => {
      platform
        .call('instance_act', { machine, instance: instance.id, action: 'delete' })
        .catch((thrown: unknown) => tellRefusal(toasts, thrown))
        .finally(() => settle(instance.id));
    }, REGRET_MS);
    const toast = toasts.getState().show(
      { kind: 'said', message: { key: 'delete.pending', values } },
      {
        ms: REGRET_MS,
        act: {
          label: { key: 'delete.undo' },
          run: () => {
            clearTimeout(timer);
            settle(instance.id);
            toasts.getState().dismiss(toast);
            toasts.getState().show({ kind: 'said', message: { key: 'delete.undone', values } });
          },
        },
      },
    );
  };

  return {
    leaving,
    create: async (request, machine) => {
      const id = uuidV7();
      const landing = {
        id,
        machine: machine ?? '',
        name: request.name ?? request.name_prefix,
        memoryMib: request.memory_mib,
      };
      drag.setState((state) => ({ landings: [...state.landings, landing] }));
      try {
        await platform.call('instance_create', { id, machine, request });
        view.getState().select({ kind: 'instance', id, tab: 'overview' });
        return true;
      } catch (thrown) {
        tellRefusal(toasts, thrown);
        return false;
      } finally {
        drag.setState((state) => ({ landings: state.landings.filter((one) => one.id !== id) }));
      }
    },
    createSeveral: async (batch) => {
      try {
        const outcome = await platform.call('batch_create', { batch });
        switch (outcome.outcome) {
          case 'created':
            toasts.getState().show({
              kind: 'said',
              message: { key: 'start.several.done', values: { count: outcome.instances.length } },
            });
            return true;
          case 'refused':
            // The form shows where they would have gone, and asks again by itself.
            toasts.getState().show({
              kind: 'refused',
              title: { key: 'start.several.none', values: { count: batch.ids.length } },
              reasons: [],
            });
            return false;
          case 'undone':
            toasts.getState().show({
              kind: 'undone',
              machine: outcome.machine,
              error: outcome.error,
              left: outcome.left,
            });
            return false;
        }
      } catch (thrown) {
        tellRefusal(toasts, thrown);
        return false;
      }
    },
    act: async (machine, instance, action) => {
      if (action === 'delete') {
        deleteLater(machine, instance);
        return;
      }
      try {
        await platform.call('instance_act', { machine, instance: instance.id, action });
      } catch (thrown) {
        tellRefusal(toasts, thrown);
      }
    },
  };
}
