import type { Template } from '../api/generated/contract';
import { roomOf } from '../domain/pool';
import { dropOutcome, refusalText, type DropTarget } from '../domain/verdict';
import type { Platform } from '../platform';
import { AT_REST, type DragStore, type Lifted, WATER, OUTSIDE } from './drag';
import { tellRefusal, type Instances } from './instances';
import type { PoolStore } from './pool';
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
  /** Stops watching the pool. */
  readonly end: () => void;
}

/** How long the pool's changes are gathered during a drag before the machines are asked again. */
export const ASK_AGAIN_MS = 250;

/** How a drop ended, for whoever has to say it. */
export type DropResult =
  | { readonly kind: 'started'; readonly machine: string }
  | { readonly kind: 'refused' }
  | { readonly kind: 'cancelled' };

interface Needs {
  readonly platform: Pick<Platform, 'call'>;
  readonly pool: PoolStore;
  readonly drag: DragStore;
  readonly toasts: ToastStore;
  readonly instances: Instances;
  /** A machine's name as people know it. */
  readonly nameOf: (machine: string) => string;
}

export function dragging({ platform, pool, drag, toasts, instances, nameOf }: Needs): Dragging {
  // The answers of the drag under way; a drop that comes before them waits for them.
  let asked: Promise<unknown> = Promise.resolve();
  // The pool that they are about.
  let room: string | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const lift = (template: Template, by: Lifted['by']) => {
    const request = requestOf(template);
    const lifted: Lifted = { template, request, by };
    drag.setState({ ...AT_REST, lifted, target: by === 'keyboard' ? WATER : OUTSIDE });
    asked = ask(lifted).catch((thrown: unknown) => {
      if (drag.getState().lifted === lifted) drag.setState(AT_REST);
      tellRefusal(toasts, thrown);
    });
  };

  const ask = async (lifted: Lifted) => {
    room = roomOf(pool.getState().pool);
    const preview = await platform.call('placement_preview', { request: lifted.request });
    if (drag.getState().lifted !== lifted) return;
    const verdicts = new Map(preview.verdicts.map((verdict) => [verdict.machine, verdict]));
    drag.setState({ preview, verdicts });
    void lookAtReserve(lifted);
  };

  const isOutdated = () => roomOf(pool.getState().pool) !== room;
  /** Others use the pool, too: what is shown of a card that is held for long is true when it is let go. */
  const askAgain = async () => {
    const { lifted, preview } = drag.getState();
    try {
      // Before the first answers there is nothing to ask again.
      if (lifted && preview && isOutdated()) await ask(lifted);
    } catch {
      // The answers of before stay, and the next change asks again: the machine itself has the last word on a drop.
    }
    timer = undefined;
    // What came while the machines answered.
    if (drag.getState().lifted && isOutdated()) watch();
  };
  // A busy pool changes with every frame: it is looked at a few times a second, and else left to be drawn.
  const watch = () => {
    timer ??= setTimeout(() => void askAgain(), ASK_AGAIN_MS);
  };
  const unwatch = pool.subscribe((state, before) => {
    if (drag.getState().lifted && state.pool !== before.pool) watch();
  });

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
    end: () => {
      unwatch();
      clearTimeout(timer);
    },
  };
}
