import { useId, useMemo, useState, type KeyboardEvent } from 'react';

import type { PlanAsk, Settings } from '../../api/generated/contract';
import { ACTIONS, blocked, consoleBlocked } from '../../domain/actions';
import { machineNamer, nameOfMachine, titleOfTemplate } from '../../domain/naming';
import { matching } from '../../domain/search';
import { LANGUAGES } from '../../i18n';
import { useWords, type Words } from '../../i18n/useWords';
import { Dialog } from '../../primitives/Dialog';
import { Icon, type IconName } from '../../primitives/Icon';
import { useSession, type Session } from '../../session';
import { tellRefusal } from '../../session/instances';
import { requestOf } from '../../session/view';
import styles from './Palette.module.css';

interface Entry {
  readonly id: string;
  readonly icon: IconName;
  readonly text: string;
  readonly kind: string;
  readonly run: () => void;
}

const SHOWN_MAX = 9;

/** Anything that the window can do, by name. */
export function Palette() {
  const session = useSession();
  const words = useWords();
  const base = useId();
  const [query, setQuery] = useState('');
  const [at, setAt] = useState(0);
  const all = useMemo(() => entriesOf(session, words), [session, words]);
  const found = useMemo(() => matching(query, all, (entry) => entry.text).slice(0, SHOWN_MAX), [query, all]);
  const close = () => session.view.getState().openDialog(undefined);
  const run = (entry: Entry | undefined) => {
    if (!entry) return;
    close();
    entry.run();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === 'Enter') run(found[at]);
    else if (step === undefined || found.length === 0) return;
    else setAt((now) => (now + step + found.length) % found.length);
    event.preventDefault();
  };
  return (
    <Dialog bare title={words.t('palette.title')} closeLabel={words.t('dialog.close')} onClose={close}>
      <div className={styles.field}>
        <Icon name="search" />
        <input
          role="combobox"
          aria-label={words.t('palette.title')}
          aria-expanded={found.length > 0}
          aria-controls={`${base}-list`}
          aria-activedescendant={found[at] && `${base}-${found[at].id}`}
          placeholder={words.t('palette.placeholder')}
          value={query}
          spellCheck={false}
          onChange={(event) => {
            setQuery(event.target.value);
            setAt(0);
          }}
          onKeyDown={onKeyDown}
        />
      </div>
      <div id={`${base}-list`} role="listbox" aria-label={words.t('palette.results')} className={styles.list}>
        {found.map((entry, index) => (
          // The keys are heard on the field, as a combobox has it.
          // eslint-disable-next-line jsx-a11y/click-events-have-key-events
          <div
            key={entry.id}
            id={`${base}-${entry.id}`}
            role="option"
            tabIndex={-1}
            aria-selected={index === at}
            onClick={() => run(entry)}
            onPointerMove={() => setAt(index)}
          >
            <Icon name={entry.icon} />
            <span>{entry.text}</span>
            <small>{entry.kind}</small>
          </div>
        ))}
      </div>
      {found.length === 0 && <p className={styles.none}>{words.t('palette.none')}</p>}
    </Dialog>
  );
}

function entriesOf(session: Session, words: Words): readonly Entry[] {
  return [
    ...templateEntries(session, words),
    ...instanceEntries(session, words),
    ...machineEntries(session, words),
    ...planEntries(session, words),
    ...windowEntries(session, words),
  ];
}

function templateEntries(session: Session, words: Words): Entry[] {
  const entries = session.templates.getState().templates.map(
    (template): Entry => ({
      id: `template-${template.id}`,
      icon: 'play',
      kind: words.t('palette.kind.template'),
      text: words.t('palette.start', { template: titleOfTemplate(template, words) }),
      run: () => void session.instances.create(requestOf(template), null),
    }),
  );
  const custom: Entry = {
    id: 'new',
    icon: 'plus',
    kind: words.t('palette.kind.template'),
    text: words.t('shelf.new'),
    run: () => session.view.getState().openDialog({ kind: 'new_instance', template: undefined }),
  };
  return [...entries, custom];
}

function machineEntries(session: Session, words: Words): Entry[] {
  const { pool } = session.pool.getState();
  const add: Entry = {
    id: 'add',
    icon: 'plus',
    kind: words.t('palette.kind.machine'),
    text: words.t('map.add'),
    run: () => session.view.getState().openDialog({ kind: 'add_machine' }),
  };
  const machines = [...pool.machines.values()].map(
    (machine): Entry => ({
      id: `machine-${machine.id}`,
      icon: 'machine',
      kind: words.t('palette.kind.machine'),
      text: words.t('palette.open', { name: nameOfMachine(machine, words.t('machine.this_computer')) }),
      run: () => session.view.getState().select({ kind: 'machine', id: machine.id }),
    }),
  );
  return [add, ...machines];
}

function planEntries(session: Session, words: Words): Entry[] {
  const { pool } = session.pool.getState();
  const kind = words.t('palette.kind.plan');
  const plan = (id: string, text: string, ask: PlanAsk): Entry => ({
    id: `plan-${id}`,
    icon: 'arrow',
    kind,
    text,
    run: () => void session.plans.make(ask),
  });
  const ofMachines = [...pool.machines.values()].flatMap((machine) => {
    const { id } = machine;
    const values = { machine: machineNamer(words).within(machine) };
    return [
      ...(machine.link.state === 'connected'
        ? [plan(`drain-${id}`, words.t('palette.drain', values), { ask: 'drain', machine: id })]
        : []),
      plan(`failure-${id}`, words.t('palette.failure', values), { ask: 'failure', machine: id }),
    ];
  });
  return [
    plan('balance', words.t('plan.balance.ask'), { ask: 'balance' }),
    plan('save-power', words.t('plan.save_power.ask'), { ask: 'save_power' }),
    {
      id: 'what-if',
      icon: 'arrow',
      kind,
      text: words.t('plan.what_if.ask'),
      run: () => session.view.getState().openDialog({ kind: 'what_if' }),
    },
    ...ofMachines,
    { id: 'export', icon: 'down', kind, text: words.t('palette.export'), run: () => void exportInventory(session) },
  ];
}

/** Writes the pool down as `host-runner plan` reads it, and says where. */
async function exportInventory(session: Session): Promise<void> {
  try {
    const { path } = await session.platform.call('inventory_save', {});
    session.toasts.getState().show({ kind: 'said', message: { key: 'palette.exported', values: { path } } });
  } catch (thrown) {
    tellRefusal(session.toasts, thrown);
  }
}

function instanceEntries(session: Session, words: Words): Entry[] {
  const { pool } = session.pool.getState();
  const kind = words.t('palette.kind.instance');
  return [...pool.machines.values()].flatMap((machine) =>
    (pool.instances.get(machine.id) ?? []).flatMap((instance) => {
      const { id, spec } = instance;
      const show = (tab: 'overview' | 'console') => () =>
        session.view.getState().select({ kind: 'instance', id, tab });
      const open: Entry = {
        id: `open-${id}`,
        icon: 'arrow',
        kind,
        text: words.t('palette.open', { name: spec.name }),
        run: show('overview'),
      };
      const consoleEntry: Entry = {
        id: `console-${id}`,
        icon: 'terminal',
        kind,
        text: words.t('palette.console', { name: spec.name }),
        run: show('console'),
      };
      const acts = ACTIONS.filter((action) => !blocked(action, instance, machine.link)).map(
        (action): Entry => ({
          id: `${action}-${id}`,
          icon: action === 'delete' ? 'bin' : 'power',
          kind,
          text: words.t('palette.act', { action: words.t(`action.${action}`), name: spec.name }),
          run: () => void session.instances.act(machine.id, instance, action),
        }),
      );
      return [open, ...(consoleBlocked(instance, machine.link) ? [] : [consoleEntry]), ...acts];
    }),
  );
}

function windowEntries(session: Session, words: Words): Entry[] {
  const choose = (change: Partial<Settings>) =>
    void session.settings.choose(change).catch((thrown: unknown) => tellRefusal(session.toasts, thrown));
  const kind = words.t('palette.kind.window');
  const themes = (['light', 'dark', 'system'] as const).map(
    (theme): Entry => ({
      id: `theme-${theme}`,
      icon: 'sun',
      kind,
      text: words.t('palette.theme', { theme: words.t(`top.theme.${theme}`) }),
      run: () => choose({ theme }),
    }),
  );
  const languages = LANGUAGES.map(
    ({ tag, name }): Entry => ({
      id: `language-${tag}`,
      icon: 'sun',
      kind,
      text: words.t('palette.language', { language: name }),
      run: () => choose({ language: tag }),
    }),
  );
  const activity: Entry = {
    id: 'activity',
    icon: 'up',
    kind,
    text: words.t('activity.open'),
    run: () => session.view.getState().showActivity(true),
  };
  return [activity, ...themes, ...languages];
}
