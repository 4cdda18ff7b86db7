import type { PlanAsk, PoolMachine } from '../../api/generated/contract';
import { useWords } from '../../i18n/useWords';
import { Button } from '../../primitives/Button';
import { Actions, Section, Stack } from '../../primitives/Panel';
import { useSession } from '../../session';
import { tellRefusal } from '../../session/instances';
import styles from './MachinePanel.module.css';

/** What may come: plans for this machine, and whether it is given new instances at all. */
export function Ahead({ machine, name }: { machine: PoolMachine; name: string }) {
  const session = useSession();
  const words = useWords();
  const away = machine.link.state === 'connected' ? undefined : words.t('blocked.link');
  const plan = (ask: PlanAsk) => () => void session.plans.make(ask);
  const setDraining = async (draining: boolean) => {
    try {
      await session.platform.call('machine_drain_set', { machine: machine.id, draining });
      session.toasts.getState().show({
        kind: 'said',
        message: { key: draining ? 'machine.draining.set' : 'machine.draining.unset', values: { machine: name } },
      });
    } catch (thrown) {
      tellRefusal(session.toasts, thrown);
    }
  };
  return (
    <Section title={words.t('machine.ahead')}>
      <Stack>
        <Actions>
          <Button why={away} onClick={plan({ ask: 'drain', machine: machine.id })}>
            {words.t('plan.drain.ask')}
          </Button>
          <Button onClick={plan({ ask: 'failure', machine: machine.id })}>
            {words.t(away === undefined ? 'plan.failure.ask' : 'plan.recover.ask')}
          </Button>
        </Actions>
        <Actions>
          <Button icon={machine.draining ? 'play' : 'stop'} onClick={() => void setDraining(!machine.draining)}>
            {words.t(machine.draining ? 'machine.draining.off' : 'machine.draining.on')}
          </Button>
        </Actions>
        {machine.draining && <p className={styles.quiet}>{words.t('machine.draining.line')}</p>}
      </Stack>
    </Section>
  );
}
