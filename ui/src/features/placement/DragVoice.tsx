import { useEffect } from 'react';

import { formatScore } from '../../domain/format';
import { machineNamer, titleOfTemplate } from '../../domain/naming';
import { verdictText } from '../../domain/verdict';
import { useWords, type Words } from '../../i18n/useWords';
import { useSession, type Session } from '../../session';
import type { DragState } from '../../session/drag';

/** Says what was lifted and how, then every machine's verdict as the arrow keys reach it. */
export function DragVoice() {
  const session = useSession();
  const words = useWords();
  useEffect(
    () =>
      session.drag.subscribe((state, before) => {
        if (state.lifted?.by !== 'keyboard' || state.preview === undefined) return;
        if (state.target === before.target && state.preview === before.preview) return;
        const said = sentence(state, session, words);
        const first = state.preview !== before.preview;
        const lifted = words.t('drag.lifted', { template: titleOfTemplate(state.lifted.template, words) });
        session.view.getState().announce(first ? `${lifted} ${said}` : said);
      }),
    [session, words],
  );
  return null;
}

function sentence(state: DragState, session: Session, words: Words): string {
  const { machines } = session.pool.getState().pool;
  const namer = machineNamer(words);
  const nameOf = (id: string) => {
    const machine = machines.get(id);
    return machine ? namer.within(machine) : id;
  };
  const best = state.preview?.best ?? null;
  if (state.target.kind !== 'machine') {
    return best === null
      ? words.t('drag.over_water_none')
      : words.t('drag.over_water', { machine: nameOf(best) });
  }
  const { id } = state.target;
  const verdict = state.verdicts.get(id);
  if (!verdict) return nameOf(id);
  const free = machines.get(id)?.usage?.memory_free_mib ?? 0;
  const left = Math.max(0, free - (state.lifted?.request.memory_mib ?? 0));
  const text = words.say(verdictText(verdict, best, nameOf(id), left));
  return verdict.refusals.length > 0
    ? words.t('drag.over', { machine: nameOf(id), verdict: text })
    : words.t('drag.over_score', {
        machine: nameOf(id),
        verdict: text,
        score: formatScore(verdict.score, words.locale),
      });
}
