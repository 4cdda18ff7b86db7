import type { ReactNode } from 'react';

import type { Instance, PoolMachine } from '../../api/generated/contract';
import { ACTIONS, blocked, consoleBlocked } from '../../domain/actions';
import { formatMib, formatMoment, formatShare } from '../../domain/format';
import { phaseOf } from '../../domain/lifecycle';
import { diskLimitText, networkLimitText } from '../../domain/limits';
import { machineNamer } from '../../domain/naming';
import { findInstance } from '../../domain/pool';
import { useWords } from '../../i18n/useWords';
import { Badge } from '../../primitives/Badge';
import { Button } from '../../primitives/Button';
import type { IconName } from '../../primitives/Icon';
import { Actions, Disclosure, Fact, Facts, Log, Notice, Panel, Section, Stack } from '../../primitives/Panel';
import { Tabs } from '../../primitives/Tabs';
import { useNow } from '../../primitives/useNow';
import { useSession } from '../../session';
import { Journey } from './Journey';

interface InstancePanelProps {
  id: string;
  tab: 'overview' | 'console';
  /** The console, drawn by whoever puts the window together. */
  console: (machine: PoolMachine, instance: Instance) => ReactNode;
}

/** Everything about one instance. */
export function InstancePanel({ id, tab, console }: InstancePanelProps) {
  const session = useSession();
  const words = useWords();
  const machine = session.pool((state) => findInstance(state.pool, id)?.machine);
  const instance = session.pool((state) => findInstance(state.pool, id)?.instance);
  const { select } = session.view.getState();
  const close = () => select({ kind: 'pool' });
  const chrome = { region: words.t('instance.panel'), closeLabel: words.t('instance.close'), onClose: close };
  if (!machine || !instance) {
    return (
      <Panel {...chrome} title={words.t('instance.panel')} line={words.t('instance.gone')}>
        {null}
      </Panel>
    );
  }
  const name = machineNamer(words).within(machine);
  return (
    <Panel {...chrome} fill={tab === 'console'} title={instance.spec.name} line={<StateLine instance={instance} machine={name} />}>
      <Tabs
        label={words.t('instance.panel')}
        chosen={tab}
        onChoose={(next) => select({ kind: 'instance', id, tab: next })}
        tabs={[
          { id: 'overview', label: words.t('instance.tab.overview') },
          { id: 'console', label: words.t('instance.tab.console') },
        ]}
      >
        {tab === 'console' ? (
          console(machine, instance)
        ) : (
          <Overview machine={machine} machineName={name} instance={instance} />
        )}
      </Tabs>
    </Panel>
  );
}

const TONES = { ready: 'ok', failed: 'no', booting: 'accent', starting: 'accent', creating: 'accent' } as const;

function StateLine({ instance, machine }: { instance: Instance; machine: string }) {
  const session = useSession();
  const words = useWords();
  const leaving = session.instances.leaving((state) => state.leaving.has(instance.id));
  const phase = leaving ? 'deleting' : phaseOf(instance);
  const tone = phase in TONES ? TONES[phase as keyof typeof TONES] : 'plain';
  return (
    <>
      <Badge tone={tone}>{words.t(`phase.${phase}`)}</Badge>{' '}
      {instance.engine && !instance.engine.accelerated && (
        <Badge tone="warn" title={instance.engine.reason}>
          {words.t('instance.emulated')}
        </Badge>
      )}{' '}
      {words.t('instance.on', { machine })}
    </>
  );
}

interface OverviewProps {
  machine: PoolMachine;
  machineName: string;
  instance: Instance;
}

function Overview({ machine, machineName, instance }: OverviewProps) {
  const words = useWords();
  return (
    <>
      {machine.link.state !== 'connected' && (
        <Section title={words.t('instance.state')}>
          <Notice tone="warn">{words.t('instance.stale', { machine: machineName })}</Notice>
        </Section>
      )}
      {instance.failure && <FailureNotice instance={instance} />}
      <Journey instance={instance} />
      <ActionRow machine={machine} instance={instance} />
      <Section title={words.t('machine.facts')}>
        <InstanceFacts machineName={machineName} instance={instance} />
      </Section>
    </>
  );
}

function FailureNotice({ instance }: { instance: Instance }) {
  const words = useWords();
  const { failure } = instance;
  if (!failure) return null;
  // One that is held, or runs without its network, has not failed.
  const failed = instance.state === 'failed';
  return (
    <Section title={words.t(failed ? 'instance.failed' : 'instance.state')}>
      <Notice tone={failed ? 'no' : 'warn'}>
        <b>{words.t(`failure.${failed && failure.code === 'engine_failed' ? 'engine' : 'other'}`)}</b>
        <p>{failure.message}</p>
      </Notice>
      {failure.log !== '' && <Log label={words.t('instance.failed.log')} text={failure.log} />}
    </Section>
  );
}

const ICONS: Readonly<Record<(typeof ACTIONS)[number], IconName>> = {
  start: 'play',
  stop: 'power',
  restart: 'again',
  force_stop: 'plug',
  delete: 'bin',
};

function ActionRow({ machine, instance }: { machine: PoolMachine; instance: Instance }) {
  const session = useSession();
  const words = useWords();
  const leaving = session.instances.leaving((state) => state.leaving.has(instance.id));
  const noConsole = consoleBlocked(instance, machine.link);
  return (
    <Section title={words.t('action.menu')}>
      <Stack>
        <Button
          icon="terminal"
          kind="primary"
          wide
          why={noConsole && words.say(noConsole)}
          onClick={() => session.view.getState().select({ kind: 'instance', id: instance.id, tab: 'console' })}
        >
          {words.t('instance.open_console')}
        </Button>
        <Actions>
          {ACTIONS.map((action) => {
            const why = leaving ? { key: 'blocked.deleting' as const } : blocked(action, instance, machine.link);
            return (
              <Button
                key={action}
                icon={ICONS[action]}
                kind={action === 'delete' ? 'danger' : 'plain'}
                why={why && words.say(why)}
                title={why ? undefined : words.t(`action.${action}.title`)}
                onClick={() => void session.instances.act(machine.id, instance, action)}
              >
                {words.t(`action.${action}`)}
              </Button>
            );
          })}
        </Actions>
      </Stack>
    </Section>
  );
}

/** What runs it and how; why it is not faster, as the machine itself put it, for those who want to know. */
function EngineWords({ engine }: { engine: NonNullable<Instance['engine']> }) {
  const words = useWords();
  return (
    <>
      {words.t(`instance.engine.${engine.kind}`)}
      <small>{words.t(engine.accelerated ? 'instance.engine.accelerated' : 'instance.engine.emulated')}</small>
      <Disclosure title={words.t('instance.engine.why')}>{engine.reason}</Disclosure>
    </>
  );
}

function InstanceFacts({ machineName, instance }: { machineName: string; instance: Instance }) {
  const words = useWords();
  const now = useNow(60_000);
  const { spec, usage, engine, ports, guest_status: status } = instance;
  const diskLimit = diskLimitText(spec.disk_limit);
  const networkLimit = networkLimitText(spec.network_limit);
  return (
    <Facts>
      {status !== null && (
        <Fact name={words.t('instance.guest_status')}>
          {/* Its own words, in whatever direction they are written. */}
          <bdi>{status}</bdi>
        </Fact>
      )}
      <Fact name={words.t('instance.cpu')}>
        {usage
          ? words.t('instance.cpu.of', {
              share: formatShare(usage.cpu_percent / 100 / spec.vcpus, words.locale),
              count: spec.vcpus,
            })
          : `${String(spec.vcpus)} vCPU`}
      </Fact>
      <Fact
        name={words.t('instance.memory')}
        // Of the whole process: a guest's memory, and what its engine needs besides.
        note={usage ? words.t('instance.memory.process', { used: usage.memory_mib }) : undefined}
      >
        {formatMib(spec.memory_mib, words.locale)}
      </Fact>
      <Fact name={words.t('instance.disk')} note={spec.disk_mib > 0 && diskLimit ? words.say(diskLimit) : undefined}>
        {spec.disk_mib > 0 ? formatMib(spec.disk_mib, words.locale) : words.t('instance.disk.none')}
      </Fact>
      <Fact name={words.t('instance.image')}>{spec.image}</Fact>
      <Fact name={words.t('instance.ports')} note={spec.ports.length > 0 && ports.length === 0 ? words.t('instance.ports.off') : undefined}>
        {ports.length === 0 && spec.ports.length === 0 && '–'}
        {ports.map((port) => (
          <div key={port.guest}>
            {words.t('instance.port', { guest: port.guest })}
            {' → '}
            <code>{`127.0.0.1:${String(port.host)}`}</code>
            <small>{words.t('instance.on', { machine: machineName })}</small>
          </div>
        ))}
      </Fact>
      {networkLimit && <Fact name={words.t('instance.network')}>{words.say(networkLimit)}</Fact>}
      <Fact name={words.t('instance.engine')}>
        {engine ? <EngineWords engine={engine} /> : words.t('instance.engine.none')}
      </Fact>
      <Fact name={words.t('instance.created')}>
        {formatMoment(new Date(instance.created_at), new Date(now), words.locale)}
      </Fact>
    </Facts>
  );
}
