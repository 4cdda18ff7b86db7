import { useWords } from '../../i18n/useWords';
import { Button } from '../../primitives/Button';
import { Actions, Section } from '../../primitives/Panel';
import { useSession } from '../../session';
import styles from './PoolPlans.module.css';

/** Plans for the whole pool. One machine has nothing to plan with. */
export function PoolPlans() {
  const session = useSession();
  const words = useWords();
  const machines = session.pool((state) => state.pool.order.length);
  if (machines < 2) return null;
  return (
    <div className={styles.plans}>
      <Section title={words.t('plan.pool')}>
        <p className={styles.line}>{words.t('plan.pool.line')}</p>
        <Actions>
          <Button onClick={() => void session.plans.make({ ask: 'balance' })}>{words.t('plan.balance.ask')}</Button>
          <Button onClick={() => void session.plans.make({ ask: 'save_power' })}>{words.t('plan.save_power.ask')}</Button>
          <Button onClick={() => session.view.getState().openDialog({ kind: 'what_if' })}>
            {words.t('plan.what_if.ask')}
          </Button>
        </Actions>
      </Section>
    </div>
  );
}
