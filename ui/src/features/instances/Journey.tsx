import type { Instance } from '../../api/generated/contract';
import { formatDuration, formatShare } from '../../domain/format';
import { JOURNEY, journeyOf } from '../../domain/lifecycle';
import { useWords } from '../../i18n/useWords';
import { Icon } from '../../primitives/Icon';
import { Section } from '../../primitives/Panel';
import { useNow } from '../../primitives/useNow';
import styles from './Journey.module.css';

/** The way from the drop to a guest that is ready, and how long it takes. */
export function Journey({ instance }: { instance: Instance }) {
  const words = useWords();
  const steps = journeyOf(instance);
  const moving = steps?.includes('now') ?? false;
  const now = useNow(500, moving);
  if (!steps) return null;
  const since = Date.parse(instance.started_at ?? instance.created_at);
  return (
    <Section title={words.t('journey.title')}>
      <ol className={styles.steps}>
        {JOURNEY.map((step, index) => {
          const state = steps[index] ?? 'ahead';
          return (
            <li key={step} data-state={state} aria-current={state === 'now' ? 'step' : undefined}>
              <span className={styles.dot}>
                {state === 'done' && <Icon name="check" size={12} />}
                {state === 'failed' && <Icon name="close" size={12} />}
              </span>
              {words.t(`journey.${step}`)}
              <span className="visually-hidden">{words.t(`journey.${state}`)}</span>
            </li>
          );
        })}
      </ol>
      {moving && (
        <p className={styles.time}>
          {instance.copied_percent !== null &&
            `${words.t('instance.copying', { share: formatShare(instance.copied_percent / 100, words.locale) })} · `}
          {words.t('instance.elapsed', { duration: formatDuration(now - since, words.locale) })}
        </p>
      )}
      {!moving && instance.boot_ms !== null && (
        <p className={styles.time} data-ready>
          {words.t('instance.ready_in', { duration: formatDuration(instance.boot_ms, words.locale) })}
        </p>
      )}
    </Section>
  );
}
