import type { PoolMachine, Term, Verdict } from '../../api/generated/contract';
import { formatPart, formatScore, formatShare } from '../../domain/format';
import { machineNamer, titleOfTemplate } from '../../domain/naming';
import { refusalText, verdictText } from '../../domain/verdict';
import { useWords } from '../../i18n/useWords';
import { Icon } from '../../primitives/Icon';
import { useSession } from '../../session';
import { meantMachine } from '../../session/drag';
import styles from './WhyPanel.module.css';

/** How many of the others are listed. */
const OTHERS_MAX = 6;

/** During a drag, the whole explanation: why this machine, or why not. */
export function WhyPanel() {
  const session = useSession();
  const words = useWords();
  const lifted = session.drag((state) => state.lifted);
  const preview = session.drag((state) => state.preview);
  const meant = session.drag(meantMachine);
  const verdict = session.drag((state) => (meant === undefined ? undefined : state.verdicts.get(meant)));
  const machine = session.pool((state) => (meant === undefined ? undefined : state.pool.machines.get(meant)));
  if (!lifted) return null;
  const template = titleOfTemplate(lifted.template, words);
  return (
    <section className={styles.panel} aria-label={words.t('why.region')}>
      {preview === undefined && <p className={styles.quiet}>{words.t('drag.asking')}</p>}
      {preview && !(verdict && machine) && <h2>{words.t('why.title_none')}</h2>}
      {preview && verdict && machine && (
        <>
          <Heading machine={machine} verdict={verdict} />
          <p className={styles.quiet}>{words.t('why.among', { template, count: preview.verdicts.length })}</p>
          {verdict.refusals.length > 0 ? (
            <Refusals machine={machine} verdict={verdict} />
          ) : (
            <Terms machine={machine} verdict={verdict} needed={lifted.request.memory_mib} />
          )}
        </>
      )}
      {preview && <Others except={meant} verdicts={preview.verdicts} />}
    </section>
  );
}

function Heading({ machine, verdict }: { machine: PoolMachine; verdict: Verdict }) {
  const words = useWords();
  const name = machineNamer(words).within(machine);
  const key = verdict.refusals.length > 0 ? 'why.title_not' : 'why.title';
  return <h2>{words.t(key, { machine: name })}</h2>;
}

function Refusals({ machine, verdict }: { machine: PoolMachine; verdict: Verdict }) {
  const words = useWords();
  const name = machineNamer(words).within(machine);
  return (
    <ul className={styles.refusals}>
      {verdict.refusals.map((refusal) => (
        <li key={refusal.reason}>
          <Icon name="warning" size={14} />
          {words.say(refusalText(refusal, name))}
        </li>
      ))}
    </ul>
  );
}

function Terms({ machine, verdict, needed }: { machine: PoolMachine; verdict: Verdict; needed: number }) {
  const words = useWords();
  return (
    <table className={styles.terms}>
      <thead className="visually-hidden">
        <tr>
          <th scope="col">{words.t('why.term')}</th>
          <th scope="col">{words.t('why.value')}</th>
        </tr>
      </thead>
      <tbody>
        {verdict.terms.map((term) => (
          <tr key={term.name}>
            <th scope="row">
              {words.find(`why.term.${term.name}`) ?? term.name}
              <small>
                <TermDetail term={term} machine={machine} needed={needed} />
                {' · '}
                {words.t('why.share', { share: formatShare(term.weight, words.locale) })}
              </small>
              <i style={{ width: `${String(Math.round(term.value * 100))}%` }} />
            </th>
            <td>{formatScore(term.value, words.locale)}</td>
          </tr>
        ))}
      </tbody>
      <tfoot>
        <tr>
          <th scope="row">{words.t('why.total')}</th>
          <td>{formatScore(verdict.score, words.locale)}</td>
        </tr>
      </tfoot>
    </table>
  );
}

function TermDetail({ term, machine, needed }: { term: Term; machine: PoolMachine; needed: number }) {
  const words = useWords();
  switch (term.name) {
    case 'memory_left': {
      const left = Math.max(0, (machine.usage?.memory_free_mib ?? 0) - needed);
      const { part, whole } = formatPart(left, machine.host?.memory_offered_mib ?? 0, words.locale);
      return words.t('why.term.memory_left.more', { left: part, whole });
    }
    case 'cpu_idle':
      return words.t('why.term.cpu_idle.more', { share: formatShare(term.value, words.locale) });
    default:
      return null;
  }
}

function Others({ except, verdicts }: { except: string | undefined; verdicts: readonly Verdict[] }) {
  const session = useSession();
  const words = useWords();
  const { machines } = session.pool.getState().pool;
  const others = verdicts
    .filter((verdict) => verdict.machine !== except)
    .sort((a, b) => b.score - a.score);
  if (others.length === 0) return null;
  const hidden = others.length - OTHERS_MAX;
  return (
    <>
      <h3>{words.t('why.others')}</h3>
      <ul className={styles.others}>
        {others.slice(0, OTHERS_MAX).map((verdict) => {
          const machine = machines.get(verdict.machine);
          if (!machine) return null;
          const namer = machineNamer(words);
          return (
            <li key={verdict.machine} data-refused={verdict.refusals.length > 0}>
              <b>{namer.title(machine)}</b>
              <span>
                {verdict.refusals.length > 0
                  ? words.say(verdictText(verdict, null, namer.within(machine), 0))
                  : words.t('why.other_score', { score: formatScore(verdict.score, words.locale) })}
              </span>
            </li>
          );
        })}
      </ul>
      {hidden > 0 && <p className={styles.quiet}>{words.t('why.more', { count: hidden })}</p>}
    </>
  );
}
