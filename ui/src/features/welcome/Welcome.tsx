import { useWords } from '../../i18n/useWords';
import { Section } from '../../primitives/Panel';
import { useSession } from '../../session';
import styles from './Welcome.module.css';

/** What the side panel says while nothing is chosen: how to start, and how to read the picture. */
export function Welcome() {
  const session = useSession();
  const words = useWords();
  const started = session.pool((state) => state.pool.places.size > 0);
  return (
    <section className={styles.welcome} aria-label={words.t('welcome.region')}>
      {!started && (
        <>
          <h2>{words.t('welcome.title')}</h2>
          <p className={styles.line}>{words.t('welcome.line')}</p>
          <ol className={styles.steps}>
            <li>{words.t('welcome.1')}</li>
            <li>{words.t('welcome.2')}</li>
            <li>{words.t('welcome.3')}</li>
          </ol>
          <p className={styles.line}>{words.t('welcome.keyboard')}</p>
        </>
      )}
      <Legend />
    </section>
  );
}

function Legend() {
  const words = useWords();
  return (
    <Section title={words.t('legend.title')}>
      <ul className={styles.legend}>
        <li>
          <span className={styles.vessel} aria-hidden="true" />
          {words.t('legend.vessel')}
        </li>
        <li>
          <span className={styles.vessel} data-filled aria-hidden="true" />
          {words.t('legend.water')}
        </li>
        <li>
          <span className={styles.block} aria-hidden="true" />
          {words.t('legend.block')}
        </li>
        <li>
          <span className={styles.loads} aria-hidden="true">
            <i data-load="calm" />
            <i data-load="busy" />
            <i data-load="hot" />
          </span>
          {words.t('legend.load')}
        </li>
        <li>
          <span className={styles.block} data-kind="stopped" aria-hidden="true" />
          {words.t('legend.hollow')}
        </li>
        <li>
          <span className={styles.block} data-kind="failed" aria-hidden="true" />
          {words.t('legend.failed')}
        </li>
      </ul>
    </Section>
  );
}
