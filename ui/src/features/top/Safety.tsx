import { machineNamer } from '../../domain/naming';
import { recoveryText } from '../../domain/plans';
import { healthOf } from '../../domain/verdict';
import { useWords } from '../../i18n/useWords';
import { useSession } from '../../session';
import styles from './TopLine.module.css';

/** Whether the failure of any one machine could be borne. Pressed, it shows what would become of the one that could not. */
export function Safety() {
  const session = useSession();
  const words = useWords();
  const recovery = session.recovery((state) => state.recovery);
  const machines = session.pool((state) => state.pool.machines);
  if (!recovery || recovery.verdict === 'not_judged') return null;
  const { away, refused } = healthOf(machines.values());
  const trouble = away + refused > 0;
  const nameOf = (id: string) => {
    const machine = machines.get(id);
    return machine ? machineNamer(words).within(machine) : id;
  };
  const text = words.say(recoveryText(recovery, nameOf));
  if (recovery.verdict === 'recoverable') {
    // What is wrong already matters more than what may go wrong.
    if (trouble) return null;
    const more = () =>
      session.toasts.getState().show({
        kind: 'said',
        message: { key: 'recovery.any.more', values: { count: machines.size } },
      });
    return (
      <button type="button" className={styles.safety} data-tone="ok" title={words.t('recovery.any.title')} onClick={more}>
        <i aria-hidden="true" />
        <span>{text}</span>
      </button>
    );
  }
  const { failure } = recovery;
  return (
    <button
      type="button"
      className={styles.safety}
      data-tone="warn"
      aria-label={text}
      title={`${text}. ${words.t('recovery.stranding.title')}`}
      onClick={() => void session.plans.make({ ask: 'failure', machine: failure })}
    >
      <i aria-hidden="true" />
      <span>{words.t('recovery.stranding.short', { machine: nameOf(failure) })}</span>
    </button>
  );
}
