import type { MadePlan, Move, PlanAsk, PlanReport, PoolState, PowerChange } from '../../api/generated/contract';
import { errorWords } from '../../domain/errors';
import { formatDuration, formatShare } from '../../domain/format';
import {
  changedText,
  durationOf,
  figuresOf,
  headline,
  isCarried,
  leftOutGroups,
  moveReason,
  movesOf,
  noPlace,
  recoveryText,
  type Figure,
  type NameOf,
} from '../../domain/plans';
import { useWords, type Words } from '../../i18n/useWords';
import { Button } from '../../primitives/Button';
import { Icon } from '../../primitives/Icon';
import { Actions, Notice, Panel, Section, Stack } from '../../primitives/Panel';
import { useSession } from '../../session';
import styles from './PlanPanel.module.css';
import { useNameOf } from './useNameOf';

/** A plan before it happens: what would move and why, what the pool would be then, and what cannot be helped. */
export function PlanPanel() {
  const session = useSession();
  const words = useWords();
  const { ask, asking, made, refused } = session.plans.store();
  const close = () => session.view.getState().select({ kind: 'pool' });
  if (!ask) return null;
  return (
    <Panel
      region={words.t('plan.region')}
      title={words.t(`plan.title.${ask.ask}`)}
      line={asking ? words.t('plan.asking') : words.t('plan.line')}
      closeLabel={words.t('instance.close')}
      onClose={close}
    >
      {refused && <Refused ask={ask} />}
      {made && <Made ask={ask} made={made} />}
    </Panel>
  );
}

function Refused({ ask }: { ask: PlanAsk }) {
  const session = useSession();
  const words = useWords();
  const refused = session.plans.store((state) => state.refused);
  if (!refused) return null;
  const { cause, remedy } = errorWords(refused.error, words);
  return (
    <Stack>
      <Notice tone="no">
        <b>{cause}</b>
        {remedy !== undefined && <p>{remedy}</p>}
      </Notice>
      <Again ask={ask} />
    </Stack>
  );
}

function Again({ ask }: { ask: PlanAsk }) {
  const session = useSession();
  const words = useWords();
  const asking = session.plans.store((state) => state.asking);
  return (
    <Actions>
      <Button icon="again" why={asking ? words.t('plan.asking') : undefined} onClick={() => void session.plans.make(ask)}>
        {words.t('plan.again')}
      </Button>
    </Actions>
  );
}

function Made({ ask, made: { report, added } }: { ask: PlanAsk; made: MadePlan }) {
  const words = useWords();
  const nameOf = useNameOf(added);
  const moves = movesOf(report).length;
  return (
    <>
      <Stale ask={ask} />
      <p className={styles.headline} data-tone={report.stranded.length > 0 ? 'no' : 'plain'}>
        {words.say(headline(ask, report, nameOf))}
      </p>
      <StrandedList plan={report} nameOf={nameOf} />
      <Figures plan={report} nameOf={nameOf} />
      <PowerList changes={report.power} nameOf={nameOf} />
      <Steps plan={report} nameOf={nameOf} />
      <LeftOutList plan={report} nameOf={nameOf} />
      {/* What a question brings is an answer: the pool is not the one that it is about. */}
      {report.kind !== 'what_if' && moves + report.power.length > 0 && (
        <div className={styles.end}>
          <Button kind="primary" icon="play" why={words.t('plan.apply.why')}>
            {words.t('plan.apply')}
          </Button>
          {/* Nobody should have to point at a button to learn why it is dead. */}
          <p className={styles.quiet} aria-hidden="true">
            {words.t('plan.apply.why')}
          </p>
        </div>
      )}
      <p className={styles.found}>
        {words.t(report.found_by.proven_optimal ? 'plan.found.best' : 'plan.found.search', {
          ms: Math.max(1, Math.round(report.took_ms)),
        })}
      </p>
    </>
  );
}

function Stale({ ask }: { ask: PlanAsk }) {
  const session = useSession();
  const words = useWords();
  const nameOf = useNameOf();
  const stale = session.plans.store((state) => state.stale);
  if (!stale) return null;
  return (
    <div className={styles.stale} role="status">
      <Notice tone="warn">
        <b>{words.t('plan.stale')}</b>
        {stale.change && <p>{words.say(changedText(stale.change, nameOf))}</p>}
      </Notice>
      <Again ask={ask} />
    </div>
  );
}

function StrandedList({ plan, nameOf }: { plan: PlanReport; nameOf: NameOf }) {
  const words = useWords();
  if (plan.stranded.length === 0) return null;
  return (
    <ul className={styles.stranded}>
      {plan.stranded.map((stranded) => (
        <li key={stranded.instance}>
          <Icon name="warning" size={14} />
          <div>
            <b>{stranded.name}</b>
            {noPlace(stranded.nearest, stranded.refusals, nameOf).map((reason) => (
              <p key={reason.key}>{words.say(reason)}</p>
            ))}
          </div>
        </li>
      ))}
    </ul>
  );
}

function figureText(figure: Figure, value: number, words: Words): string {
  switch (figure.unit) {
    case 'percent':
      return formatShare(value, words.locale);
    case 'points':
      return words.t('plan.figure.points', { value });
    case 'watts':
      return words.t('plan.figure.watts', { value });
    case 'count':
      return String(value);
  }
}

/** The pool before and after; what stays the same is said once. */
function Figures({ plan, nameOf }: { plan: PlanReport; nameOf: NameOf }) {
  const words = useWords();
  const rows = figuresOf(plan).map((figure) => ({
    name: figure.name,
    before: figureText(figure, figure.before, words),
    after: figureText(figure, figure.after, words),
  }));
  const [was, is] = [plan.before.recovery, plan.after.recovery].map((one) => words.say(recoveryText(one, nameOf)));
  const changes = was !== is || rows.some(({ before, after }) => before !== after);
  return (
    <Section title={words.t(changes ? 'plan.figures' : 'plan.figures.now')}>
      <table className={styles.figures}>
        <thead className="visually-hidden">
          <tr>
            <th scope="col">{words.t('plan.figure')}</th>
            <th scope="col">{words.t('plan.before')}</th>
            <th scope="col">{words.t('plan.after')}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map(({ name, before, after }) => (
            <tr key={name}>
              <th scope="row">{words.t(`plan.figure.${name}`)}</th>
              {before === after ? (
                <td colSpan={2}>{before}</td>
              ) : (
                <>
                  <td>{before}</td>
                  <td>
                    <Icon name="arrow" size={12} />
                    {after}
                  </td>
                </>
              )}
            </tr>
          ))}
        </tbody>
      </table>
      <ul className={styles.verdict}>
        {was === is ? (
          <Verdict of={plan.after} text={words.t(changes ? 'plan.recovery.same' : 'plan.recovery.now', { recovery: is ?? '' })} />
        ) : (
          <>
            <Verdict of={plan.before} text={words.t('plan.recovery.before', { recovery: was ?? '' })} />
            <Verdict of={plan.after} text={words.t('plan.recovery.after', { recovery: is ?? '' })} />
          </>
        )}
      </ul>
    </Section>
  );
}

/** Whether a failure can be borne, with its mark. */
function Verdict({ of: { recovery }, text }: { of: PoolState; text: string }) {
  return (
    <li data-tone={recovery.verdict}>
      <i aria-hidden="true" />
      {text}
    </li>
  );
}

function PowerList({ changes, nameOf }: { changes: readonly PowerChange[]; nameOf: NameOf }) {
  const words = useWords();
  if (changes.length === 0) return null;
  return (
    <Section title={words.t('plan.power')}>
      <ul className={styles.plain}>
        {changes.map(({ change, machine }) => (
          <li key={machine}>{words.t(`plan.power.${change}`, { machine: nameOf(machine) })}</li>
        ))}
      </ul>
    </Section>
  );
}

function Steps({ plan, nameOf }: { plan: PlanReport; nameOf: NameOf }) {
  const words = useWords();
  if (plan.steps.length === 0) return null;
  const count = movesOf(plan).length;
  const duration = formatDuration(durationOf(plan), words.locale);
  return (
    <Section title={words.t('plan.steps')}>
      <p className={styles.quiet}>{words.t('plan.steps.line', { count, duration })}</p>
      <ol className={styles.steps}>
        {plan.steps.map((step, index) => (
          // Steps have no identity but their place.
          <li key={index} data-several={step.moves.length > 1}>
            {step.moves.length > 1 && <h4>{words.t('plan.step.together', { count: step.moves.length })}</h4>}
            <ul>
              {step.moves.map((move) => (
                <MoveLine key={move.instance} move={move} nameOf={nameOf} />
              ))}
            </ul>
          </li>
        ))}
      </ol>
    </Section>
  );
}

function MoveLine({ move, nameOf }: { move: Move; nameOf: NameOf }) {
  const words = useWords();
  const reason = moveReason(move, nameOf);
  const carried = isCarried(move);
  return (
    <li className={styles.move}>
      <p>
        <b>{move.name}</b>
        {move.from !== null && <span>{nameOf(move.from)}</span>}
        <Icon name="arrow" size={12} />
        <span>{nameOf(move.to)}</span>
      </p>
      <small>
        {carried && words.t(`plan.how.${move.how}`, { duration: formatDuration(move.duration_s * 1000, words.locale) })}
        {carried && reason && ' · '}
        {reason && words.say(reason)}
      </small>
    </li>
  );
}

/** More of them are counted, not listed. */
const LEFT_OUT_MAX = 12;

/** Of those that share a reason, more are counted, not named. */
const NAMES_MAX = 6;

function LeftOutList({ plan, nameOf }: { plan: PlanReport; nameOf: NameOf }) {
  const words = useWords();
  const groups = leftOutGroups(plan, nameOf);
  if (groups.length === 0) return null;
  const hidden = groups.slice(LEFT_OUT_MAX).reduce((sum, { names }) => sum + Math.max(1, names.length), 0);
  return (
    <Section title={words.t('plan.left')}>
      <ul className={styles.left}>
        {groups.slice(0, LEFT_OUT_MAX).map(({ names, reasons }) => (
          <li key={JSON.stringify(reasons)}>
            {names.length > 0 && <b>{namesText(names, words)}</b>}
            {reasons.map((reason) => (
              <p key={reason.key}>{words.say(reason)}</p>
            ))}
          </li>
        ))}
      </ul>
      {hidden > 0 && <p className={styles.quiet}>{words.t('why.more', { count: hidden })}</p>}
    </Section>
  );
}

function namesText(names: readonly string[], words: Words): string {
  const more = names.length - NAMES_MAX;
  const shown = names.slice(0, NAMES_MAX);
  if (more > 0) shown.push(words.t('plan.left.others', { count: more }));
  return new Intl.ListFormat(words.locale, { type: 'conjunction' }).format(shown);
}
