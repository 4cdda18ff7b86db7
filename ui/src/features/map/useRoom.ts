import { useLayoutEffect, useState, type RefObject } from 'react';

import type { Room } from '../../domain/vessel';

/** Before the first layout, and where there is none: the map of a window of 1280 by 800. */
const USUAL: Room = { width: 712, height: 687 };

/** Changes smaller than this draw nothing anew. */
const STEP_PX = 20;

/** The map's room on the screen, as it is resized. */
export function useRoom(map: RefObject<HTMLElement | null>): Room {
  const [room, setRoom] = useState(USUAL);
  useLayoutEffect(() => {
    const element = map.current;
    if (!element) return;
    const look = () => {
      const { clientWidth: width, clientHeight: height } = element;
      if (width === 0 || height === 0) return;
      setRoom((held) =>
        Math.abs(held.width - width) < STEP_PX && Math.abs(held.height - height) < STEP_PX
          ? held
          : { width, height },
      );
    };
    look();
    const observer = new ResizeObserver(look);
    observer.observe(element);
    return () => observer.disconnect();
  }, [map]);
  return room;
}
