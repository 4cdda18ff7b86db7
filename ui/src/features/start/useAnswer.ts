import { useEffect, useState } from 'react';

import { roomOf } from '../../domain/pool';
import type { Platform } from '../../platform';
import { useSession } from '../../session';
import type { PoolStore } from '../../session/pool';

/** How long the pool's changes are gathered before an open form asks again. */
export const ASK_AGAIN_MS = 500;

/**
 * The answer of the pool of now to a form as it stands; the last one while a new one is asked for. `question` is undefined while
 * something in the form is wrong; `ask` must always be the same function.
 */
export function useAnswer<Question, Answer>(
  question: Question | undefined,
  ask: (platform: Platform, question: Question) => Promise<Answer>,
): Answer | undefined {
  const { platform, pool } = useSession();
  const room = useRoom(pool);
  const [answer, setAnswer] = useState<Answer | undefined>(undefined);
  // Forms make their questions anew with every key: what counts is what is asked.
  const asked = question === undefined ? undefined : JSON.stringify(question);
  useEffect(() => {
    if (asked === undefined) return;
    let wanted = true;
    ask(platform, JSON.parse(asked) as Question).then(
      (found) => {
        if (wanted) setAnswer(found);
      },
      // The start itself will say what is wrong; typing is not the moment for it.
      () => undefined,
    );
    return () => {
      wanted = false;
    };
  }, [platform, asked, ask, room]);
  return answer;
}

/** What decides where an instance fits, a little after it has changed. */
function useRoom(pool: PoolStore): string {
  const [room, setRoom] = useState(() => roomOf(pool.getState().pool));
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = () => {
      timer = undefined;
      setRoom(roomOf(pool.getState().pool));
    };
    const unwatch = pool.subscribe((state, before) => {
      if (state.pool !== before.pool) timer ??= setTimeout(look, ASK_AGAIN_MS);
    });
    return () => {
      unwatch();
      clearTimeout(timer);
    };
  }, [pool]);
  return room;
}
