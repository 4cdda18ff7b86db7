import type { PoolMachine, Preview, Term, Verdict } from '../../api/generated/contract';
import { compare } from '../../domain/explain';
import { formatList, formatPart, formatScore, formatShare, formatSigned } from '../../domain/format';
import { machineNamer, titleOfTemplate } from '../../domain/naming';
import { refusalText, verdictText } from '../../domain/verdict';
import { useWords } from '../../i18n/useWords';
import { Icon } from '../../primitives/Icon';
import { Notice } from '../../primitives/Panel';
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
            <>
              <Sentence preview={preview} machine={machine.id} />
              <Reserve machine={machine.id} />
              <Terms preview={preview} machine={machine} verdict={verdict} needed={lifted.request.memory_mib} />
            </>
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

/** Smaller differences would be shown as none. */
const SHOWN = 0.005;

/** The choice in one sentence: against whom, by how much, and what made it. */
function Sentence({ preview, machine }: { preview: Preview; machine: string }) {
  const session = useSession();
  const words = useWords();
  const compared = compare(preview, machine);
  if (!compared) return null;
  if (compared.kind === 'only') return preview.verdicts.length > 1 && <p className={styles.sentence}>{words.t('why.only')}</p>;
  const other = session.pool.getState().pool.machines.get(compared.other);
  const name = other ? machineNamer(words).within(other) : compared.other;
  if (compared.kind === 'equal') {
    // Only the one that is chosen needs a reason for that.
    return machine === preview.best && <p className={styles.sentence}>{words.t('why.equal', { machine: name })}</p>;
  }
  return (
    <p className={styles.sentence}>
      {words.t(`why.${compared.kind}`, {
        machine: name,
        difference: compared.by < SHOWN ? words.t('why.hardly') : formatScore(compared.by, words.locale),
        reasons: formatList(
          compared.reasons.map((reason) => words.t(`why.reason.${reason}`)),
          words.locale,
        ),
      })}
    </p>
  );
}

/** A warning where the instance would use up room that is kept for a failure. */
function Reserve({ machine }: { machine: string }) {
  const session = useSession();
  const words = useWords();
  const lost = session.drag((state) => state.reserve.get(machine));
  if (!lost) return null;
  const failing = session.pool.getState().pool.machines.get(lost.failure);
  const name = failing ? machineNamer(words).within(failing) : lost.failure;
  return (
    <div className={styles.reserve}>
      <Notice tone="warn">{words.t('why.reserve', { machine: name, count: lost.stranded })}</Notice>
    </div>
  );
}

interface TermsProps {
  preview: Preview;
  machine: PoolMachine;
  verdict: Verdict;
  needed: number;
}

function Terms({ preview, machine, verdict, needed }: TermsProps) {
  const words = useWords();
  const compared = compare(preview, machine.id);
  const differences = compared && 'differences' in compared ? compared.differences : [];
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
              {words.t(`why.term.${term.name}`)}
              <small>
                <TermDetail term={term} machine={machine} needed={needed} />
                {' · '}
                {words.t('why.share', { share: formatShare(term.weight, words.locale) })}
              </small>
              <i style={{ width: `${String(Math.round(term.value * 100))}%` }} />
            </th>
            <td>
              {formatScore(term.value, words.locale)}
              <Against value={differences.find(({ name }) => name === term.name)?.value ?? 0} />
            </td>
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

/** A term's part in the difference; none where it makes none. */
function Against({ value }: { value: number }) {
  const words = useWords();
  if (Math.abs(value) < 0.005) return null;
  return <small data-good={value > 0}>{formatSigned(value, words.locale)}</small>;
}

function TermDetail({ term, machine, needed }: { term: Term; machine: PoolMachine; needed: number }) {
  const words = useWords();
  switch (term.name) {
    case 'memory_left': {
      const left = Math.max(0, (machine.usage?.memory_free_mib ?? 0) - needed);
      const { part, whole } = formatPart(left, machine.host?.memory_offered_mib ?? 0, words.locale);
      return words.t('why.term.memory_left.detail', { left: part, whole });
    }
    default:
      return words.t(`why.term.${term.name}.detail`, { share: formatShare(term.value, words.locale) });
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
