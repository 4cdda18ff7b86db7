import { useState } from 'react';

import type { Capability, PoolMachine } from '../../api/generated/contract';
import { errorWords } from '../../domain/errors';
import { formatDuration, formatMib, formatPart, formatShare } from '../../domain/format';
import { phaseOf } from '../../domain/lifecycle';
import { nameOfMachine, targetOf } from '../../domain/naming';
import { NO_INSTANCES } from '../../domain/pool';
import { linkText } from '../../domain/verdict';
import { useWords } from '../../i18n/useWords';
import { Badge } from '../../primitives/Badge';
import { Button } from '../../primitives/Button';
import { Field } from '../../primitives/Field';
import { Gauge } from '../../primitives/Gauge';
import { Actions, Fact, Facts, Notice, Panel, Section, Stack } from '../../primitives/Panel';
import { useNow } from '../../primitives/useNow';
import { useSession } from '../../session';
import { tellRefusal } from '../../session/instances';
import { Fingerprint, HowToCompare } from './Fingerprint';
import { Ahead } from './Ahead';
import { MachineChart } from './MachineChart';
import styles from './MachinePanel.module.css';

/** Everything about one machine. */
export function MachinePanel({ id }: { id: string }) {
  const session = useSession();
  const words = useWords();
  const machine = session.pool((state) => state.pool.machines.get(id));
  const close = () => session.view.getState().select({ kind: 'pool' });
  const chrome = { region: words.t('machine.panel'), closeLabel: words.t('instance.close'), onClose: close };
  if (!machine) {
    return (
      <Panel {...chrome} title={words.t('machine.panel')} line={words.t('machine.gone')}>
        {null}
      </Panel>
    );
  }
  const name = nameOfMachine(machine, words.t('machine.this_computer'));
  return (
    <Panel {...chrome} title={name} line={<LinkLine machine={machine} />}>
      <Trouble machine={machine} />
      {machine.host && <Gauges machine={machine} />}
      {machine.host && <MachineChart machine={machine.id} name={name} />}
      <InstanceList machine={machine.id} />
      <Ahead machine={machine} name={name} />
      <MachineFacts machine={machine} />
      {machine.host && <Capabilities capabilities={machine.host.capabilities} />}
      <Remove machine={machine} name={name} />
    </Panel>
  );
}

function LinkLine({ machine }: { machine: PoolMachine }) {
  const words = useWords();
  const now = useNow(1000, machine.link.state === 'unreachable');
  const tone = { connected: 'ok', connecting: 'plain', unreachable: 'warn', refused: 'no' } as const;
  return (
    <>
      <Badge tone={tone[machine.link.state]}>{words.say(linkText(machine.link, now))}</Badge>{' '}
      {machine.usage &&
        words.t('machine.up', { duration: formatDuration(machine.usage.uptime_s * 1000, words.locale) })}
    </>
  );
}

/** Why the link is down, what to do, and a way to do it. */
function Trouble({ machine }: { machine: PoolMachine }) {
  const session = useSession();
  const words = useWords();
  const [secret, setSecret] = useState('');
  const { link } = machine;
  if (link.state !== 'unreachable' && link.state !== 'refused') return null;
  const { cause, remedy } = errorWords(link.error, words);
  const asks =
    link.error.code === 'authentication_failed'
      ? 'password'
      : link.error.code === 'passphrase_needed'
        ? 'passphrase'
        : undefined;
  const fingerprint = link.error.code === 'host_key_unknown' ? link.error.details['fingerprint'] : undefined;
  const reconnect = async () => {
    try {
      await session.platform.call('machine_reconnect', {
        machine: machine.id,
        password: asks === 'password' ? secret : null,
        passphrase: asks === 'passphrase' ? secret : null,
        // Shown above the button: pressing it is the person's word that they are the same.
        ...(fingerprint === undefined ? {} : { accepted_fingerprint: String(fingerprint) }),
      });
    } catch (thrown) {
      tellRefusal(session.toasts, thrown);
    }
    setSecret('');
  };
  return (
    <form
      className={styles.trouble}
      onSubmit={(event) => {
        event.preventDefault();
        void reconnect();
      }}
    >
      <Stack>
        <Notice tone={link.state === 'refused' ? 'no' : 'warn'}>
          <b>{cause}</b>
          {remedy !== undefined && <p>{remedy}</p>}
        </Notice>
        {fingerprint !== undefined && (
          <>
            <Fingerprint
              label={words.t('add.key.fingerprint')}
              type={String(link.error.details['key_type'] ?? '')}
              fingerprint={String(fingerprint)}
            />
            <HowToCompare type={String(link.error.details['key_type'] ?? '')} />
          </>
        )}
        {asks && (
          <Field
            type="password"
            label={words.t(`machine.${asks}`)}
            hint={words.t('add.secret.line')}
            value={secret}
            onValue={setSecret}
          />
        )}
        <Actions>
          <Button type="submit" icon={fingerprint === undefined ? 'again' : 'key'}>
            {words.t(fingerprint === undefined ? 'machine.reconnect' : 'add.key.accept')}
          </Button>
        </Actions>
      </Stack>
    </form>
  );
}

function Gauges({ machine: { host, usage } }: { machine: PoolMachine }) {
  const words = useWords();
  if (!host || !usage) return null;
  const memory = formatPart(usage.memory_promised_mib, host.memory_offered_mib, words.locale);
  const disk = usage.disk_promised_mib + usage.disk_free_mib;
  const diskPart = formatPart(usage.disk_promised_mib, disk, words.locale);
  return (
    <Section title={words.t('machine.gauges')}>
      <Stack>
        <Gauge
          layout="block"
          label={words.t('machine.cpu')}
          value={formatShare(usage.cpu_percent / 100, words.locale)}
          share={usage.cpu_percent / 100}
          note={[words.t('machine.threads', { count: host.threads }), host.cpu_model].filter(Boolean).join(' · ')}
        />
        <Gauge
          layout="block"
          label={words.t('machine.memory')}
          value={words.t('map.quantity', memory)}
          share={usage.memory_promised_mib / Math.max(1, host.memory_offered_mib)}
          note={words.t('machine.memory.more', { total: formatMib(host.memory_total_mib, words.locale) })}
        />
        <Gauge
          layout="block"
          label={words.t('top.disk')}
          value={words.t('map.quantity', diskPart)}
          share={disk > 0 ? usage.disk_promised_mib / disk : 0}
        />
      </Stack>
    </Section>
  );
}

function InstanceList({ machine }: { machine: string }) {
  const session = useSession();
  const words = useWords();
  const instances = session.pool((state) => state.pool.instances.get(machine) ?? NO_INSTANCES);
  return (
    <Section title={words.t('machine.instances')}>
      {instances.length === 0 && <p className={styles.quiet}>{words.t('machine.instances.none')}</p>}
      <ul className={styles.list}>
        {instances.map((instance) => (
          <li key={instance.id}>
            <button
              type="button"
              onClick={() => session.view.getState().select({ kind: 'instance', id: instance.id, tab: 'overview' })}
            >
              <b>{instance.spec.name}</b>
              <span>
                {words.t(`phase.${phaseOf(instance)}`)}
                {' · '}
                {formatMib(instance.spec.memory_mib, words.locale)}
              </span>
            </button>
          </li>
        ))}
      </ul>
    </Section>
  );
}

function MachineFacts({ machine }: { machine: PoolMachine }) {
  const words = useWords();
  const { host, address, images } = machine;
  return (
    <Section title={words.t('machine.facts')}>
      <Facts>
        <Fact name={words.t('machine.address')}>
          {address.kind === 'local'
            ? words.t('machine.address.local')
            : words.t('machine.address.ssh', { target: targetOf(address) })}
        </Fact>
        {host && (
          <>
            <Fact name={words.t('machine.os')} note={host.hostname}>
              {host.os}
            </Fact>
            <Fact name={words.t('machine.kernel')}>{`${host.kernel} · ${host.arch}`}</Fact>
            <Fact name={words.t('machine.agent')}>{`host-runner ${host.agent_version}`}</Fact>
          </>
        )}
        {images.length > 0 && (
          <Fact name={words.t('machine.images')}>
            {images.map((image) => (
              <div key={image.name} title={image.summary}>
                {image.title}{' '}
                {image.state === 'corrupt' && (
                  <Badge tone="no" {...(image.problem === null ? {} : { title: image.problem })}>
                    {words.t('machine.image.corrupt')}
                  </Badge>
                )}
              </div>
            ))}
          </Fact>
        )}
      </Facts>
    </Section>
  );
}

function Capabilities({ capabilities }: { capabilities: readonly Capability[] }) {
  const words = useWords();
  const tones = { ok: 'ok', limited: 'warn', missing: 'no' } as const;
  return (
    <Section title={words.t('machine.capabilities')}>
      <ul className={styles.capabilities}>
        {capabilities.map((capability) => (
          <li key={capability.name}>
            <div>
              <b>{words.find(`capability.${capability.name}`) ?? capability.name.replaceAll('_', ' ')}</b>
              <Badge tone={tones[capability.state]}>{words.t(`machine.capability.${capability.state}`)}</Badge>
            </div>
            <p>{capability.finding}</p>
            {capability.remedy !== null && (
              <p className={styles.remedy}>{words.t('machine.remedy', { remedy: capability.remedy })}</p>
            )}
          </li>
        ))}
      </ul>
    </Section>
  );
}

function Remove({ machine, name }: { machine: PoolMachine; name: string }) {
  const session = useSession();
  const words = useWords();
  const local = machine.address.kind === 'local';
  const remove = async () => {
    try {
      await session.platform.call('machine_remove', { machine: machine.id });
      session.view.getState().select({ kind: 'pool' });
      session.toasts.getState().show({
        kind: 'said',
        message: { key: 'machine.removed', values: { machine: name } },
      });
    } catch (thrown) {
      tellRefusal(session.toasts, thrown);
    }
  };
  return (
    <div className={styles.remove}>
      <Button
        kind="danger"
        icon="bin"
        why={local ? words.t('machine.remove.local') : undefined}
        onClick={() => void remove()}
      >
        {words.t('machine.remove')}
      </Button>
      {!local && <p className={styles.quiet}>{words.t('machine.remove.line')}</p>}
    </div>
  );
}
