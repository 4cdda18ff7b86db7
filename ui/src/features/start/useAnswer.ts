import { useEffect, useState } from 'react';

import type { Platform } from '../../platform';
import { useSession } from '../../session';

/**
 * The pool's answer to a form as it stands; the last one while a new one is asked for. `question` is undefined while something in the
 * form is wrong; `ask` must always be the same function.
 */
export function useAnswer<Question, Answer>(
  question: Question | undefined,
  ask: (platform: Platform, question: Question) => Promise<Answer>,
): Answer | undefined {
  const { platform } = useSession();
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
  }, [platform, asked, ask]);
  return answer;
}
