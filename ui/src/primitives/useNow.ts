import { useEffect, useState } from 'react';

/** The time, read anew every `everyMs` while `running` and while the window is seen. */
export function useNow(everyMs: number, running = true): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!running) return;
    const read = () => {
      if (!document.hidden) setNow(Date.now());
    };
    const timer = setInterval(read, everyMs);
    document.addEventListener('visibilitychange', read);
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', read);
    };
  }, [everyMs, running]);
  return now;
}
