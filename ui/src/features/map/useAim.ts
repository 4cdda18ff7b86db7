import { useEffect, type RefObject } from 'react';

import type { DropTarget } from '../../domain/verdict';
import { useSession } from '../../session';
import { OUTSIDE, WATER } from '../../session/drag';

/** How near the map's upper and lower edge a dragged card scrolls it, and how fast at the very edge. */
const EDGE_PX = 56;
const SPEED_MAX_PX = 14;

/** Follows a dragged card over the map: says what it is over, and scrolls at the edges. */
export function useAim(map: RefObject<HTMLElement | null>): void {
  const { track, dragging, drag, pool } = useSession();
  useEffect(() => {
    const element = map.current;
    if (!element) return;
    let layout: Layout | undefined;
    let at = { x: 0, y: 0 };
    let frame = 0;
    // Asking an element how far it is scrolled lays the page out; its event tells the same for nothing.
    let scrolled = 0;

    const forget = () => {
      layout = undefined;
    };
    const onScroll = () => {
      scrolled = element.scrollTop;
    };
    onScroll();
    element.addEventListener('scroll', onScroll, { passive: true });
    const aim = () => {
      layout ??= measure(element);
      dragging.aim(targetAt(layout, scrolled, at.x, at.y));
      return layout;
    };
    const scroll = () => {
      frame = 0;
      if (drag.getState().lifted?.by !== 'pointer') return;
      const { box } = aim();
      const speed = edgeSpeed(box, at.x, at.y);
      if (speed === 0) return;
      element.scrollBy(0, speed);
      frame = requestAnimationFrame(scroll);
    };
    const unfollow = track.follow((x, y) => {
      at = { x, y };
      aim();
      if (frame === 0) frame = requestAnimationFrame(scroll);
    });
    const unlift = drag.subscribe((state, before) => {
      if (state.lifted !== before.lifted) forget();
    });
    const unlist = pool.subscribe((state, before) => {
      if (state.pool.order !== before.pool.order) forget();
    });
    const observer = new ResizeObserver(forget);
    observer.observe(element);
    for (const child of element.children) observer.observe(child);
    return () => {
      unfollow();
      unlift();
      unlist();
      observer.disconnect();
      element.removeEventListener('scroll', onScroll);
      cancelAnimationFrame(frame);
    };
  }, [map, track, dragging, drag, pool]);
}

/** Where everything is, measured once for a drag: asking the browser at each move costs it a fifth of a frame in a large pool. */
interface Layout {
  /** The map on the screen. */
  readonly box: DOMRect;
  /** The machines, as if the map were scrolled to its top. */
  readonly machines: readonly { readonly id: string; readonly box: DOMRect }[];
}

function measure(map: HTMLElement): Layout {
  const machines = [...map.querySelectorAll<HTMLElement>('[data-machine-id]')].map((machine) => {
    const { x, y, width, height } = machine.getBoundingClientRect();
    return {
      id: machine.dataset['machineId'] ?? '',
      box: new DOMRect(x, y + map.scrollTop, width, height),
    };
  });
  return { box: map.getBoundingClientRect(), machines };
}

function targetAt({ box, machines }: Layout, scrolled: number, x: number, y: number): DropTarget {
  if (!contains(box, x, y)) return OUTSIDE;
  const over = machines.find((machine) => contains(machine.box, x, y + scrolled));
  return over ? { kind: 'machine', id: over.id } : WATER;
}

function contains(box: DOMRect, x: number, y: number): boolean {
  return x >= box.left && x < box.right && y >= box.top && y < box.bottom;
}

function edgeSpeed(box: DOMRect, x: number, y: number): number {
  if (x < box.left || x > box.right) return 0;
  const above = box.top + EDGE_PX - y;
  const below = y - (box.bottom - EDGE_PX);
  const depth = Math.min(1, Math.max(above, below) / EDGE_PX);
  return depth <= 0 ? 0 : Math.ceil(depth * SPEED_MAX_PX) * (above > below ? -1 : 1);
}
