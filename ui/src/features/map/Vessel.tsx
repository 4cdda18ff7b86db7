import { memo, useMemo } from 'react';

import type { PoolMachine } from '../../api/generated/contract';
import { formatChange, formatMib, formatPart } from '../../domain/format';
import { machineNamer, titleOfTemplate } from '../../domain/naming';
import { NO_INSTANCES } from '../../domain/pool';
import { linkText, standingOf, verdictText } from '../../domain/verdict';
import { marks, vesselHeight, waterLevel, type Scale } from '../../domain/vessel';
import { useWords, type Words } from '../../i18n/useWords';
import { Icon } from '../../primitives/Icon';
import { useNow } from '../../primitives/useNow';
import { useSession } from '../../session';
import { Blocks } from './Blocks';
import { usePlanned } from './usePlanned';
import styles from './Vessel.module.css';

interface VesselProps {
  id: string;
  scale: Scale;
  /** The largest machine's offer, which the heights are measured against. */
  largest: number;
}

/** One machine. Renders when that machine, its instances or its standing in a drag change, and not otherwise. */
export const Vessel = memo(function Vessel({ id, scale, largest }: VesselProps) {
  const session = useSession();
  const words = useWords();
  const machine = session.pool((state) => state.pool.machines.get(id));
  const instances = session.pool((state) => state.pool.instances.get(id) ?? NO_INSTANCES);
  const standing = session.drag((state) => {
    const verdict = state.verdicts.get(id);
    return verdict && standingOf(verdict, state.preview?.best ?? null);
  });
  const aimed = session.drag((state) => state.target.kind === 'machine' && state.target.id === id);
  const selected = session.view(({ selection }) => selection.kind === 'machine' && selection.id === id);
  if (!machine) return null;

  const offered = machine.host?.memory_offered_mib ?? 0;
  const promised = machine.usage?.memory_promised_mib ?? 0;
  const height = vesselHeight(offered, largest, scale);
  const level = waterLevel(promised, offered);
  const name = machineNamer(words).title(machine);
  return (
    <li
      className={styles.vessel}
      data-machine-id={id}
      data-machine-name={machine.name}
      data-standing={standing}
      data-aimed={aimed}
      data-link={machine.link.state}
      data-draining={machine.draining}
      data-selected={selected}
      data-scale={scale.name}
    >
      <div className={styles.tank} style={{ height }}>
        <div className={styles.inside}>
          <div className={styles.water} data-dry={level === 0} style={{ height: `${String(level * 100)}%` }}>
            <Surface />
          </div>
          <After machine={machine} />
        </div>
        {scale.marks > 0 && <Marks offered={offered} height={height} />}
        <Hit machine={machine} name={name} instances={instances.length} />
        <Blocks
          instances={instances}
          machine={id}
          machineName={machineNamer(words).within(machine)}
          offered={offered}
          height={height}
          scale={scale}
        />
        {instances.length === 0 && <Invitation machine={machine} scale={scale} />}
      </div>
      <div className={styles.ground} aria-hidden="true" />
      <Caption machine={machine} name={name} scale={scale} />
    </li>
  );
});

/** The water's moving edge. */
function Surface() {
  return (
    <svg className={styles.surface} viewBox="0 0 120 6" preserveAspectRatio="none" aria-hidden="true">
      <path className={styles.crest} d="M0 6V3c10 0 10-2 20-2s10 2 20 2 10-2 20-2 10 2 20 2 10-2 20-2 10 2 20 2v3Z" />
    </svg>
  );
}

/** Hatched water: how the vessel would stand after the drop. */
function After({ machine }: { machine: PoolMachine }) {
  const session = useSession();
  const needed = session.drag((state) => {
    const verdict = state.verdicts.get(machine.id);
    return verdict?.refusals.length === 0 ? (state.lifted?.request.memory_mib ?? 0) : 0;
  });
  const landing = session.drag((state) =>
    state.landings.reduce((sum, one) => sum + (one.machine === machine.id ? one.memoryMib : 0), 0),
  );
  const more = needed + landing;
  if (more === 0 || !machine.host || !machine.usage) return null;
  const offered = machine.host.memory_offered_mib;
  return (
    <div
      className={styles.after}
      data-landing={landing > 0}
      style={{
        bottom: `${String(waterLevel(machine.usage.memory_promised_mib, offered) * 100)}%`,
        height: `${String(waterLevel(more, offered) * 100)}%`,
      }}
    />
  );
}

/** Closer together than this, marks are noise. */
const MARK_PX_MIN = 26;

function Marks({ offered, height }: { offered: number; height: number }) {
  const { locale } = useWords();
  const all = useMemo(() => marks(offered), [offered]);
  const first = all[0];
  if (!first || first.level * height < MARK_PX_MIN) return null;
  return (
    <div className={styles.marks} aria-hidden="true">
      {all.map((mark) => (
        <span key={mark.mib} style={{ bottom: `${String(mark.level * 100)}%` }}>
          {formatMib(mark.mib, locale)}
        </span>
      ))}
    </div>
  );
}

/** The vessel as a button beneath its blocks: it opens the machine. */
function Hit({ machine, name, instances }: { machine: PoolMachine; name: string; instances: number }) {
  const session = useSession();
  const words = useWords();
  const { part, whole } = quantities(machine, words.locale);
  const label = words.t('map.vessel', {
    name,
    part,
    whole,
    instances: instances === 0 ? words.t('map.instances.none') : words.t('map.instances', { count: instances }),
    link: words.t(`link.${machine.link.state}`),
  });
  return (
    <button
      type="button"
      className={styles.hit}
      tabIndex={-1}
      data-map-stop="machine"
      aria-label={label}
      onClick={() => session.view.getState().select({ kind: 'machine', id: machine.id })}
    />
  );
}

function Invitation({ machine, scale }: { machine: PoolMachine; scale: Scale }) {
  const session = useSession();
  const words = useWords();
  const template = session.templates((state) => state.templates[0]);
  // What it invites to is under way: the hatched water and the caption say the rest.
  const dragging = session.drag((state) => state.lifted !== undefined || state.landings.length > 0);
  const { arriving } = usePlanned(machine.id);
  // A plan brings something here: its outline stands where the words would.
  if (arriving.length > 0) return null;
  if (!template || machine.link.state !== 'connected' || machine.draining || dragging) return null;
  if (scale.name === 'snug' || scale.name === 'dense') return null;
  return (
    <div className={styles.invitation} aria-hidden="true">
      <b>{words.t('map.here', { template: titleOfTemplate(template, words) })}</b>
      {scale.name === 'hero' && (
        <small>{words.t('map.here.more', { free: machine.usage?.memory_free_mib ?? 0 })}</small>
      )}
    </div>
  );
}

/** The vessel's name and numbers; during a drag its score and its reason. */
function Caption({ machine, name, scale }: { machine: PoolMachine; name: string; scale: Scale }) {
  const session = useSession();
  const words = useWords();
  const verdict = session.drag((state) => state.verdicts.get(machine.id));
  const best = session.drag((state) => state.preview?.best ?? null);
  const needed = session.drag((state) => state.lifted?.request.memory_mib ?? 0);
  const free = machine.usage?.memory_free_mib ?? 0;
  const { change } = usePlanned(machine.id);
  const added = verdict ? (verdict.refusals.length === 0 ? needed : undefined) : change === 0 ? undefined : change;
  return (
    <div className={styles.caption}>
      <div className={styles.score} data-shown={verdict !== undefined} aria-hidden="true">
        <i style={{ transform: `scaleX(${String(verdict?.score ?? 0)})` }} />
      </div>
      <div className={styles.name}>
        <b title={name}>{name}</b>
        <span>{quantityText(machine, added, scale, words)}</span>
      </div>
      <p className={styles.words}>
        {verdict ? (
          words.say(verdictText(verdict, best, machineNamer(words).within(machine), Math.max(0, free - needed)))
        ) : (
          <LinkWords machine={machine} />
        )}
      </p>
    </div>
  );
}

/** Nothing while all is as usual: only trouble needs words, and a machine that is left alone. */
function LinkWords({ machine }: { machine: PoolMachine }) {
  const words = useWords();
  const now = useNow(1000, machine.link.state === 'unreachable');
  if (machine.link.state === 'connected') return machine.draining ? words.t('map.draining') : null;
  return (
    <span className={styles.link}>
      <Icon name={machine.link.state === 'connecting' ? 'again' : 'warning'} size={13} />
      {words.say(linkText(machine.link, now))}
    </span>
  );
}

function quantities(machine: PoolMachine, locale: string): { part: string; whole: string } {
  return formatPart(machine.usage?.memory_promised_mib ?? 0, machine.host?.memory_offered_mib ?? 0, locale);
}

/** What a machine has promised, and with `added` what it would have; its whole only where there is room for three numbers. */
function quantityText(machine: PoolMachine, added: number | undefined, scale: Scale, words: Words): string {
  if (!machine.host) return words.t('map.never_seen');
  const quantity = quantities(machine, words.locale);
  if (added === undefined) return words.t('map.quantity', quantity);
  const promised = machine.usage?.memory_promised_mib ?? 0;
  const change = formatChange(promised, Math.max(0, promised + added), words.locale);
  return scale.name === 'hero'
    ? words.t('map.quantity.after', { ...change, whole: quantity.whole })
    : words.t('map.quantity.change', change);
}
