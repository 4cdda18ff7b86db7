import { useEffect, type RefObject } from 'react';

import type { DropTarget } from '../../domain/verdict';
import { useSession } from '../../session';
import { OUTSIDE, WATER } from '../../session/drag';

/** How near the map's upper and lower edge a dragged card scrolls it, and how fast at the very edge. */
const EDGE_PX = 56;
const SPEED_MAX_PX = 14;

/** Follows a dragged card over the map: says what it is over, and scrolls at the edges. */
export function useAim(map: RefObject<HTMLElement | null>): void {
  const { track, dragging, drag } = useSession();
  useEffect(() => {
    let at = { x: 0, y: 0 };
    let frame = 0;

    const aim = () => {
      if (map.current) dragging.aim(targetAt(map.current, at.x, at.y));
    };
    const scroll = () => {
      frame = 0;
      const element = map.current;
      if (!element || drag.getState().lifted?.by !== 'pointer') return;
      const speed = edgeSpeed(element.getBoundingClientRect(), at.x, at.y);
      if (speed === 0) return;
      const before = element.scrollTop;
      element.scrollTop += speed;
      if (element.scrollTop !== before) aim();
      frame = requestAnimationFrame(scroll);
    };
    const unfollow = track.follow((x, y) => {
      at = { x, y };
      aim();
      if (frame === 0) frame = requestAnimationFrame(scroll);
    });
    return () => {
      unfollow();
      cancelAnimationFrame(frame);
    };
  }, [map, track, dragging, drag]);
}

function targetAt(map: HTMLElement, x: number, y: number): DropTarget {
  const under = document.elementFromPoint(x, y);
  if (!under || !map.contains(under)) return OUTSIDE;
  const id = under.closest<HTMLElement>('[data-machine-id]')?.dataset['machineId'];
  return id === undefined ? WATER : { kind: 'machine', id };
}

function edgeSpeed(box: DOMRect, x: number, y: number): number {
  if (x < box.left || x > box.right) return 0;
  const above = box.top + EDGE_PX - y;
  const below = y - (box.bottom - EDGE_PX);
  const depth = Math.min(1, Math.max(above, below) / EDGE_PX);
  return depth <= 0 ? 0 : Math.ceil(depth * SPEED_MAX_PX) * (above > below ? -1 : 1);
}
