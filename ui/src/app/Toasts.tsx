import { useEffect, useState } from 'react';

import { errorWords } from '../domain/errors';
import { formatList } from '../domain/format';
import { calledNamer, ownNameIn } from '../domain/naming';
import { useWords } from '../i18n/useWords';
import { Button, IconButton } from '../primitives/Button';
import { Icon } from '../primitives/Icon';
import { useSession } from '../session';
import type { Toast } from '../session/toasts';
import styles from './Toasts.module.css';

/** What just happened, and what went wrong. */
export function Toasts() {
  const session = useSession();
  const words = useWords();
  const toasts = session.toasts((state) => state.toasts);
  return (
    <section className={styles.toasts} aria-label={words.t('toast.region')}>
      {toasts.map((toast) => (
        <Card key={toast.id} toast={toast} />
      ))}
    </section>
  );
}

function Card({ toast }: { toast: Toast }) {
  const session = useSession();
  const words = useWords();
  const [held, setHeld] = useState(false);
  const { dismiss } = session.toasts.getState();
  const { body, act } = toast;

  // A notice with a deadline of its own (an undo) leaves in time; others stay while they are being read.
  const waits = held && act === undefined;
  useEffect(() => {
    if (waits) return;
    const timer = setTimeout(() => dismiss(toast.id), toast.ms);
    return () => clearTimeout(timer);
  }, [waits, dismiss, toast.id, toast.ms]);

  return (
    <div
      className={styles.toast}
      data-kind={body.kind}
      role={body.kind === 'said' ? 'status' : 'alert'}
      onPointerEnter={() => setHeld(true)}
      onPointerLeave={() => setHeld(false)}
    >
      {body.kind !== 'said' && <Icon name="warning" />}
      <Words toast={toast} />
      {act && (
        <Button onClick={act.run}>
          {words.say(act.label)}
        </Button>
      )}
      <IconButton icon="close" label={words.t('toast.dismiss')} onClick={() => dismiss(toast.id)} />
      {act && <i className={styles.time} style={{ animationDuration: `${String(toast.ms)}ms` }} />}
    </div>
  );
}

function Words({ toast: { body } }: { toast: Toast }) {
  const words = useWords();
  const own = useSession().pool((state) => ownNameIn(state.pool.machines));
  switch (body.kind) {
    case 'said':
      return <p>{words.say(body.message)}</p>;
    case 'refused':
      return (
        <div>
          <b>{words.say(body.title)}</b>
          {body.reasons.map((reason) => (
            <p key={reason.key}>{words.say(reason)}</p>
          ))}
        </div>
      );
    case 'undone': {
      const { cause } = errorWords(body.error, words);
      const machine = calledNamer(own, words).within(body.machine);
      return (
        <div>
          <b>{words.t('start.several.undone', { machine })}</b>
          <p>{cause}</p>
          {body.left.length > 0 && <p>{words.t('start.several.left', { names: formatList(body.left, words.locale) })}</p>}
        </div>
      );
    }
    case 'error': {
      const { cause, remedy } = errorWords(body.error, words);
      const machine = body.machine === null ? undefined : calledNamer(own, words).title(body.machine);
      return (
        <div>
          <b>{machine === undefined ? cause : `${machine}: ${cause}`}</b>
          {remedy !== undefined && <p>{remedy}</p>}
          <code>{words.t('toast.request', { id: body.requestId })}</code>
        </div>
      );
    }
  }
}
