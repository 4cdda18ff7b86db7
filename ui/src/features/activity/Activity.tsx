import { useMemo } from 'react';

import type { ActivityEntry } from '../../api/generated/contract';
import { errorWords } from '../../domain/errors';
import { formatClock, formatDuration, formatMoment } from '../../domain/format';
import { calledNamer, ownNameIn } from '../../domain/naming';
import { entryText, placeOnLine, weightOf } from '../../domain/timeline';
import { useWords } from '../../i18n/useWords';
import { Button, IconButton } from '../../primitives/Button';
import { useNow } from '../../primitives/useNow';
import { useSession } from '../../session';
import { tellRefusal } from '../../session/instances';
import styles from './Activity.module.css';

const SPAN_MS = 3_600_000;
/** More dots than this in an hour are a smear. */
const DOTS_MAX = 120;

/** Time, along the bottom: the last hour as a line, its newest sentence, and on demand the whole list. */
export function Activity() {
  const session = useSession();
  const words = useWords();
  const entries = session.activity((state) => state.entries);
  const open = session.view((state) => state.activityOpen);
  const newest = entries[0];
  const sentence = useSentence();
  const toggle = () => session.view.getState().showActivity(!open);
  return (
    <footer className={styles.strip} data-open={open}>
      {open && <List entries={entries} />}
      <div className={styles.line}>
        <button type="button" className={styles.newest} onClick={toggle}>
          <b>{words.t('activity.title')}</b>
          <span data-weight={newest && weightOf(newest.kind)}>
            {newest ? sentence(newest) : words.t('activity.empty')}
          </span>
        </button>
        <Line entries={entries} />
        <IconButton
          icon={open ? 'down' : 'up'}
          label={words.t(open ? 'activity.close' : 'activity.open')}
          aria-expanded={open}
          onClick={toggle}
        />
      </div>
    </footer>
  );
}

/** Puts entries into words. */
function useSentence(): (entry: ActivityEntry) => string {
  const words = useWords();
  const own = useSession().pool((state) => ownNameIn(state.pool.machines));
  return useMemo(() => {
    const names = {
      called: calledNamer(own, words),
      machine: words.t('activity.someone'),
      instance: words.t('activity.something'),
      duration: (ms: number) => formatDuration(ms, words.locale),
    };
    return (entry) => words.say(entryText(entry, names));
  }, [own, words]);
}

function Line({ entries }: { entries: readonly ActivityEntry[] }) {
  const words = useWords();
  const now = useNow(10_000);
  const sentence = useSentence();
  const dots = useMemo(
    () =>
      entries.slice(0, DOTS_MAX).flatMap((entry) => {
        const place = placeOnLine(entry.at, now, SPAN_MS);
        return place === undefined ? [] : [{ entry, place }];
      }),
    [entries, now],
  );
  return (
    <div className={styles.time} role="img" aria-label={words.t('activity.timeline')}>
      <div className={styles.track}>
        {dots.map(({ entry, place }) => (
          <i
            key={entry.id}
            data-weight={weightOf(entry.kind)}
            style={{ left: `${String(place * 100)}%` }}
            title={`${formatClock(new Date(entry.at), words.locale)} · ${sentence(entry)}`}
          />
        ))}
        <i data-weight="now" style={{ left: '100%' }} />
      </div>
      <div className={styles.ends}>
        <span>{words.t('activity.hour')}</span>
        <span>{words.t('activity.now', { time: formatClock(new Date(now), words.locale) })}</span>
      </div>
    </div>
  );
}

function List({ entries }: { entries: readonly ActivityEntry[] }) {
  const session = useSession();
  const words = useWords();
  const more = session.activity((state) => state.more);
  const now = useNow(60_000);
  const older = () => {
    const read = session.activity.getState().older();
    read.catch((thrown: unknown) => tellRefusal(session.toasts, thrown));
  };
  return (
    <section className={styles.list} aria-label={words.t('activity.title')}>
      <ol>
        {entries.map((entry) => (
          <Entry key={entry.id} entry={entry} now={now} />
        ))}
      </ol>
      {more && (
        <Button kind="quiet" onClick={older}>
          {words.t('activity.older')}
        </Button>
      )}
    </section>
  );
}

function Entry({ entry, now }: { entry: ActivityEntry; now: number }) {
  const session = useSession();
  const words = useWords();
  const known = session.pool(
    (state) => entry.instance_id !== null && state.pool.places.has(entry.instance_id),
  );
  const text = useSentence()(entry);
  const reason = entry.error && errorWords(entry.error, words);
  return (
    <li data-weight={weightOf(entry.kind)}>
      <time dateTime={entry.at}>{formatMoment(new Date(entry.at), new Date(now), words.locale)}</time>
      <div>
        {known && entry.instance_id !== null ? (
          <OpenInstance id={entry.instance_id} text={text} />
        ) : (
          <span>{text}</span>
        )}
        {reason && (
          <small>
            {reason.cause} {reason.remedy}
          </small>
        )}
      </div>
      {entry.request_id !== null && (
        <code title={words.t('activity.request', { id: entry.request_id })}>{entry.request_id.slice(0, 8)}</code>
      )}
    </li>
  );
}

function OpenInstance({ id, text }: { id: string; text: string }) {
  const session = useSession();
  return (
    <button
      type="button"
      onClick={() => session.view.getState().select({ kind: 'instance', id, tab: 'overview' })}
    >
      {text}
    </button>
  );
}
