import type { Template } from '../api/generated/contract';
import { dropOutcome, refusalText, type DropTarget } from '../domain/verdict';
import type { Platform } from '../platform';
import { AT_REST, type DragStore, type Lifted, WATER, OUTSIDE } from './drag';
import { tellRefusal, type Instances } from './instances';
import type { ToastStore } from './toasts';
import { requestOf } from './view';

/** Lifting, aiming and dropping, whatever lifts: a pointer, keys or a menu. */
export interface Dragging {
  readonly lift: (template: Template, by: Lifted['by']) => void;
  readonly aim: (target: DropTarget) => void;
  /** Lets go where it is aimed at. */
  readonly drop: () => Promise<DropResult>;
  /** Puts it back. */
  readonly cancel: () => void;
}

/** How a drop ended, for whoever has to say it. */
export type DropResult =
  | { readonly kind: 'started'; readonly machine: string }
  | { readonly kind: 'refused' }
  | { readonly kind: 'cancelled' };

interface Needs {
  readonly platform: Pick<Platform, 'call'>;
  readonly drag: DragStore;
  readonly toasts: ToastStore;
  readonly instances: Instances;
  /** A machine's name as people know it. */
  readonly nameOf: (machine: string) => string;
}

export function dragging({ platform, drag, toasts, instances, nameOf }: Needs): Dragging {
  // The answers of the drag under way; a drop that comes before them waits for them.
  let asked: Promise<unknown> = Promise.resolve();

  const lift = (template: Template, by: Lifted['by']) => {
    const request = requestOf(template);
    const lifted: Lifted = { template, request, by };
    drag.setState({ ...AT_REST, lifted, target: by === 'keyboard' ? WATER : OUTSIDE });
    asked = platform.call('placement_preview', { request }).then(
      (preview) => {
        if (drag.getState().lifted !== lifted) return;
        const verdicts = new Map(preview.verdicts.map((verdict) => [verdict.machine, verdict]));
        drag.setState({ preview, verdicts });
        void lookAtReserve(lifted);
      },
      (thrown: unknown) => {
        if (drag.getState().lifted === lifted) drag.setState(AT_REST);
        tellRefusal(toasts, thrown);
      },
    );
  };

  /** Comes after the verdicts: they are what a drag waits for. */
  const lookAtReserve = async (lifted: Lifted) => {
    try {
      const lost = await platform.call('placement_reserve', { request: lifted.request });
      if (drag.getState().lifted !== lifted) return;
      drag.setState({ reserve: new Map(lost.map((one) => [one.machine, one])) });
    } catch {
      // It warns, and decides nothing: without it the drag goes on.
    }
  };

  const drop = async (): Promise<DropResult> => {
    const { lifted, target } = drag.getState();
    if (!lifted) return { kind: 'cancelled' };
    if (target.kind === 'outside') {
      drag.setState(AT_REST);
      return { kind: 'cancelled' };
    }
    await asked;
    const { preview } = drag.getState();
    if (!preview || drag.getState().lifted !== lifted) return { kind: 'cancelled' };
    drag.setState(AT_REST);
    const outcome = dropOutcome(preview, target);
    switch (outcome.kind) {
      case 'cancelled':
        return { kind: 'cancelled' };
      case 'create': {
        const started = await instances.create(lifted.request, outcome.machine);
        return started ? { kind: 'started', machine: outcome.machine } : { kind: 'refused' };
      }
      case 'refused': {
        const machine = nameOf(outcome.machine);
        toasts.getState().show({
          kind: 'refused',
          title: { key: 'drag.refused', values: { machine } },
          reasons: outcome.refusals.map((refusal) => refusalText(refusal, machine)),
        });
        return { kind: 'refused' };
      }
      case 'nowhere_fits':
        toasts.getState().show({
          kind: 'refused',
          title: { key: 'drag.nowhere' },
          reasons: [{ key: 'drag.nowhere.more' }],
        });
        return { kind: 'refused' };
    }
  };

  return {
    lift,
    aim: (target) => {
      const held = drag.getState().target;
      const same =
        held.kind === target.kind &&
        (held.kind !== 'machine' || target.kind !== 'machine' || held.id === target.id);
      if (!same) drag.setState({ target });
    },
    drop,
    cancel: () => drag.setState(AT_REST),
  };
}
