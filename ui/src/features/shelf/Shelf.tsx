import { useId, useState } from 'react';

import type { Preview, Template } from '../../api/generated/contract';
import { machineNamer, titleOfTemplate } from '../../domain/naming';
import { standingOf, verdictText } from '../../domain/verdict';
import { useWords } from '../../i18n/useWords';
import { Button } from '../../primitives/Button';
import { Menu, type MenuItem } from '../../primitives/Menu';
import { TemplateTile } from '../../primitives/TemplateTile';
import { useSession } from '../../session';
import { tellRefusal } from '../../session/instances';
import { requestOf } from '../../session/view';
import styles from './Shelf.module.css';
import { useLift } from './useLift';

interface OpenMenu {
  readonly template: Template;
  readonly preview: Preview;
  readonly at: { readonly x: number; readonly y: number };
}

/** What can be started: cards that are dragged, lifted by keys, or pressed for a menu. */
export function Shelf() {
  const session = useSession();
  const words = useWords();
  const { templates, state } = session.templates();
  const [menu, setMenu] = useState<OpenMenu | undefined>(undefined);

  const openMenu = async (template: Template, element: HTMLElement) => {
    const { right, top } = element.getBoundingClientRect();
    try {
      const preview = await session.platform.call('placement_preview', { request: requestOf(template) });
      setMenu({ template, preview, at: { x: right - 30, y: top + 20 } });
    } catch (thrown) {
      tellRefusal(session.toasts, thrown);
    }
  };

  return (
    <nav className={styles.shelf} aria-label={words.t('shelf.region')}>
      <h2 className={styles.title}>{words.t('shelf.title')}</h2>
      <ul className={styles.cards}>
        {templates.map((template) => (
          <li key={template.id}>
            <Card template={template} onMenu={(element) => void openMenu(template, element)} />
          </li>
        ))}
      </ul>
      {state !== 'reading' && templates.length === 0 && (
        <p className={styles.empty}>{words.t(state === 'failed' ? 'shelf.failed' : 'shelf.empty')}</p>
      )}
      <p className="visually-hidden" id="shelf-how">
        {words.t('shelf.card.how')}
      </p>
      <Button
        icon="plus"
        kind="quiet"
        onClick={() => session.view.getState().openDialog({ kind: 'new_instance', template: undefined })}
      >
        {words.t('shelf.new')}
      </Button>
      {menu && <StartMenu menu={menu} onClose={() => setMenu(undefined)} />}
    </nav>
  );
}

function Card({ template, onMenu }: { template: Template; onMenu: (element: HTMLElement) => void }) {
  const session = useSession();
  const words = useWords();
  const lifted = session.drag((state) => state.lifted?.template.id === template.id);
  const handlers = useLift(template, onMenu);
  const specId = useId();
  const title = titleOfTemplate(template, words);
  const line = words.find(`template.${template.id}.line`);
  const spec = words.t(template.disk_mib > 0 ? 'shelf.spec_disk' : 'shelf.spec', {
    vcpus: template.vcpus,
    memory: template.memory_mib,
    disk: template.disk_mib,
  });
  return (
    <button
      type="button"
      className={styles.card}
      data-lifted={lifted}
      data-template-id={template.id}
      aria-label={title}
      aria-describedby={`${specId} shelf-how`}
      aria-pressed={lifted}
      {...handlers}
      onContextMenu={(event) => {
        event.preventDefault();
        onMenu(event.currentTarget);
      }}
      onClick={(event) => {
        // A click that no pointer made: a screen reader's, or a voice's.
        if (event.detail === 0 && !session.drag.getState().lifted) onMenu(event.currentTarget);
      }}
    >
      <TemplateTile id={template.id} title={title} />
      <span className={styles.words}>
        <b>{title}</b>
        <small id={specId}>{spec}</small>
        {line !== undefined && <small className={styles.line}>{line}</small>}
      </span>
    </button>
  );
}

function StartMenu({ menu, onClose }: { menu: OpenMenu; onClose: () => void }) {
  const session = useSession();
  const words = useWords();
  const { pool } = session.pool.getState();
  const { template, preview, at } = menu;
  const namer = machineNamer(words);
  const machines = preview.verdicts.map((verdict): MenuItem => {
    const machine = pool.machines.get(verdict.machine);
    const name = machine ? namer.title(machine) : verdict.machine;
    const left = Math.max(0, (machine?.usage?.memory_free_mib ?? 0) - template.memory_mib);
    const standing = standingOf(verdict, preview.best);
    return {
      id: verdict.machine,
      label: name,
      note: words.say(verdictText(verdict, preview.best, machine ? namer.within(machine) : name, left)),
      blocked: standing === 'refused',
      ...(standing === 'best' ? { tone: 'best' } : standing === 'refused' ? { tone: 'no' } : {}),
    };
  });
  const more: MenuItem = { id: 'new', label: words.t('shelf.new'), separated: true };
  const title = words.t('shelf.start_on', { template: titleOfTemplate(template, words) });
  return (
    <Menu
      label={title}
      header={title}
      at={at}
      items={[...machines, more]}
      onClose={onClose}
      onChoose={(id) => {
        if (id === more.id) session.view.getState().openDialog({ kind: 'new_instance', template });
        else void session.instances.create(requestOf(template), id);
      }}
    />
  );
}
