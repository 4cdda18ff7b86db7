import { useEffect, useRef, type KeyboardEvent, type PointerEvent } from 'react';

import type { Template } from '../../api/generated/contract';
import type { DropTarget } from '../../domain/verdict';
import { useWords } from '../../i18n/useWords';
import { useSession } from '../../session';
import { AT_REST, WATER } from '../../session/drag';

/** How far a press must move before it is a drag and not a click, in CSS pixels. */
const LIFT_AFTER_PX = 4;

interface Press {
  readonly pointer: number;
  readonly x: number;
  readonly y: number;
  lifted: boolean;
}

/** What makes an element liftable, by pointer and by keyboard. */
export interface LiftHandlers {
  readonly onPointerDown: (event: PointerEvent<HTMLElement>) => void;
  readonly onPointerMove: (event: PointerEvent<HTMLElement>) => void;
  readonly onPointerUp: (event: PointerEvent<HTMLElement>) => void;
  readonly onPointerCancel: () => void;
  readonly onLostPointerCapture: () => void;
  readonly onKeyDown: (event: KeyboardEvent<HTMLElement>) => void;
  readonly onBlur: () => void;
}

/** Lifts a template: a press that moves drags it, Enter or Space picks it up for the arrow keys. */
export function useLift(template: Template, onPress: (element: HTMLElement) => void): LiftHandlers {
  const session = useSession();
  const words = useWords();
  const press = useRef<Press | undefined>(undefined);

  const cancel = () => {
    if (session.drag.getState().lifted?.template.id !== template.id) return;
    session.dragging.cancel();
    session.view.getState().announce(words.t('drag.cancelled'));
  };
  const abandon = () => {
    if (press.current?.lifted) cancel();
    press.current = undefined;
  };
  const settle = async () => {
    const result = await session.dragging.drop();
    if (result.kind === 'cancelled') session.view.getState().announce(words.t('drag.cancelled'));
  };

  // A pointer drag leaves the focus where it was, so Escape is heard on the document.
  const escape = useRef(abandon);
  useEffect(() => {
    escape.current = abandon;
  });
  useEffect(() => {
    const onKey = (event: globalThis.KeyboardEvent) => {
      if (event.key === 'Escape' && press.current?.lifted) {
        event.preventDefault();
        escape.current();
      }
    };
    document.addEventListener('keydown', onKey, true);
    return () => document.removeEventListener('keydown', onKey, true);
  }, []);

  const onKeyDown = (event: KeyboardEvent<HTMLElement>) => {
    const { lifted } = session.drag.getState();
    if (lifted === undefined) {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      event.preventDefault();
      session.dragging.lift(template, 'keyboard');
      return;
    }
    if (lifted.by !== 'keyboard') return;
    if (event.key === 'Escape') cancel();
    else if (event.key === 'Enter' || event.key === ' ') void settle();
    else {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step === undefined) return;
      session.dragging.aim(stepped(session.drag.getState().target, session.pool.getState().pool.order, step));
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return {
    onPointerDown: (event) => {
      if (event.button !== 0 || session.drag.getState().lifted) return;
      press.current = { pointer: event.pointerId, x: event.clientX, y: event.clientY, lifted: false };
      event.currentTarget.setPointerCapture(event.pointerId);
    },
    onPointerMove: (event) => {
      const held = press.current;
      if (held?.pointer !== event.pointerId) return;
      if (!held.lifted) {
        if (Math.hypot(event.clientX - held.x, event.clientY - held.y) < LIFT_AFTER_PX) return;
        held.lifted = true;
        session.dragging.lift(template, 'pointer');
      }
      session.track.move(event.clientX, event.clientY);
    },
    onPointerUp: (event) => {
      const held = press.current;
      press.current = undefined;
      if (held?.pointer !== event.pointerId) return;
      if (!held.lifted) {
        onPress(event.currentTarget);
        return;
      }
      session.track.move(event.clientX, event.clientY);
      void settle();
    },
    onPointerCancel: abandon,
    // Comes after a pointer-up too, when the press is over already.
    onLostPointerCapture: abandon,
    onKeyDown,
    onBlur: () => {
      if (session.drag.getState().lifted?.by === 'keyboard') {
        session.drag.setState(AT_REST);
      }
    },
  };
}

/** The next place for the arrow keys: open water, then the machines in order, and round again. */
function stepped(target: DropTarget, order: readonly string[], step: number): DropTarget {
  const places: readonly DropTarget[] = [WATER, ...order.map((id) => ({ kind: 'machine', id }) as const)];
  const now = places.findIndex(
    (place) => place.kind === target.kind && (place.kind !== 'machine' || target.kind !== 'machine' || place.id === target.id),
  );
  return places[(Math.max(0, now) + step + places.length) % places.length] ?? WATER;
}
