import { useState } from 'react';

import type { PolicyName, ThemeChoice } from '../../api/generated/contract';
import { formatPart, formatShare } from '../../domain/format';
import { totalsOf } from '../../domain/pool';
import { healthOf } from '../../domain/verdict';
import { LANGUAGES } from '../../i18n';
import { useWords } from '../../i18n/useWords';
import { IconButton } from '../../primitives/Button';
import { Gauge } from '../../primitives/Gauge';
import { Icon } from '../../primitives/Icon';
import { Menu } from '../../primitives/Menu';
import { Safety } from './Safety';
import { useSession } from '../../session';
import { tellRefusal } from '../../session/instances';
import styles from './TopLine.module.css';

/** How full, how well, and how to find or do anything. */
export function TopLine() {
  const session = useSession();
  const words = useWords();
  return (
    <header className={styles.top}>
      <h1 className={styles.brand}>
        <Mark />
        {words.t('app.name')}
      </h1>
      <Gauges />
      <Health />
      <Safety />
      <div className={styles.grow} />
      <button
        type="button"
        className={styles.search}
        onClick={() => session.view.getState().openDialog({ kind: 'palette' })}
      >
        <Icon name="search" size={14} />
        <span>{words.t('top.search')}</span>
        <kbd aria-hidden="true">{'Ctrl K'}</kbd>
      </button>
      <LookMenu />
    </header>
  );
}

function Mark() {
  return (
    <svg viewBox="0 0 24 24" width="22" height="22" fill="none" aria-hidden="true">
      <path d="M2 9c3 2 5 2 8 0s5-2 8 0 3 1 4 .6" className={styles.wave} />
      <path d="M2 15c3 2 5 2 8 0s5-2 8 0 3 1 4 .6" className={styles.ripple} />
    </svg>
  );
}

function Gauges() {
  const session = useSession();
  const words = useWords();
  const pool = session.pool((state) => state.pool);
  const totals = totalsOf(pool);
  if (totals.memoryOffered === 0) return null;
  const memory = formatPart(totals.memoryPromised, totals.memoryOffered, words.locale);
  const disk = formatPart(totals.diskPromised, totals.diskOffered, words.locale);
  return (
    <div className={styles.gauges} role="group" aria-label={words.t('top.gauges')}>
      <Gauge
        label={words.t('top.cpu')}
        value={formatShare(totals.cpuShare, words.locale)}
        share={totals.cpuShare}
      />
      <Gauge
        label={words.t('top.memory')}
        value={words.t('map.quantity', memory)}
        share={totals.memoryPromised / totals.memoryOffered}
      />
      <Gauge
        label={words.t('top.disk')}
        value={words.t('map.quantity', disk)}
        share={totals.diskOffered > 0 ? totals.diskPromised / totals.diskOffered : 0}
      />
    </div>
  );
}

function Health() {
  const session = useSession();
  const words = useWords();
  const machines = session.pool((state) => state.pool.machines);
  const read = session.pool((state) => state.read);
  const live = session.pool((state) => state.live);
  const safe = session.recovery((state) => state.recovery !== undefined && state.recovery.verdict !== 'not_judged');
  if (!read) return null;
  if (!live) {
    return (
      <p className={styles.health} data-tone="no" role="status">
        <i />
        {words.t('app.lost')}
      </p>
    );
  }
  const { total, away, refused } = healthOf(machines.values());
  const connecting = [...machines.values()].some((machine) => machine.link.state === 'connecting');
  const [tone, text] =
    total === 0
      ? ['plain', words.t('health.none')]
      : refused > 0
        ? ['no', words.t('health.refused', { count: refused })]
        : away > 0
          ? ['warn', words.t('health.away', { count: away })]
          : connecting
            ? ['plain', words.t('health.connecting')]
            : ['ok', words.t('health.well', { count: total })];
  // That any of them may fail says that they are well, too.
  if (tone === 'ok' && safe) return null;
  return (
    <p className={styles.health} data-tone={tone} role="status">
      <i />
      {text}
    </p>
  );
}

const THEMES: readonly ThemeChoice[] = ['system', 'light', 'dark'];
const POLICIES: readonly PolicyName[] = ['spread', 'pack', 'save_power'];

function LookMenu() {
  const session = useSession();
  const words = useWords();
  const settings = session.settings.store((state) => state.settings);
  const [at, setAt] = useState<{ x: number; y: number } | undefined>(undefined);
  const choose = (id: string) => {
    const [what, value] = id.split(':');
    const theme = THEMES.find((one) => one === value);
    const placement = POLICIES.find((one) => one === value);
    const language = value === 'system' ? null : (value ?? null);
    session.settings
      .choose(what === 'theme' && theme ? { theme } : what === 'placement' && placement ? { placement } : { language })
      .catch((thrown: unknown) => tellRefusal(session.toasts, thrown));
  };
  return (
    <>
      <IconButton
        icon="sun"
        label={words.t('top.settings')}
        aria-haspopup="menu"
        aria-expanded={at !== undefined}
        onClick={(event) => {
          const box = event.currentTarget.getBoundingClientRect();
          setAt({ x: box.right - 270, y: box.bottom + 6 });
        }}
      />
      {at && (
        <Menu
          label={words.t('top.settings')}
          at={at}
          onClose={() => setAt(undefined)}
          onChoose={choose}
          items={[
            ...THEMES.map((theme) => ({
              id: `theme:${theme}`,
              label: `${words.t('top.theme')}: ${words.t(`top.theme.${theme}`)}`,
              checked: settings.theme === theme,
            })),
            {
              id: 'language:system',
              label: `${words.t('top.language')}: ${words.t('top.language.system')}`,
              checked: settings.language === null,
              separated: true,
            },
            ...LANGUAGES.map(({ tag, name }) => ({
              id: `language:${tag}`,
              label: name,
              checked: settings.language === tag,
            })),
            ...POLICIES.map((policy, index) => ({
              id: `placement:${policy}`,
              label: `${words.t('top.placement')}: ${words.t(`top.placement.${policy}`)}`,
              note: words.t(`top.placement.${policy}.line`),
              checked: settings.placement === policy,
              separated: index === 0,
            })),
          ]}
        />
      )}
    </>
  );
}
