import { act, configure, screen, waitFor, within } from '@testing-library/react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import type { PlanStanding } from '../api/generated/contract';
import { startWords } from '../i18n';
import { idOf, SCENES } from '../platform/testing/scenes';
import type { Session } from '../session';
import { openScene } from '../testing/openScene';

let session: Session;

function open(...scene: Parameters<typeof openScene>) {
  const opened = openScene(...scene);
  session = opened.session;
  return opened;
}

beforeEach(() => startWords('en'));
afterEach(() => session.end());

// Panels are read when they are asked for, and the session waits before it looks again.
configure({ asyncUtilTimeout: 8_000 });
vi.setConfig({ testTimeout: 30_000 });

describe('a plan', () => {
  it('is shown before anything moves: each move, the pool before and after, and no way to carry it out', async () => {
    const { user, platform } = open('seven');
    await user.click(await screen.findByRole('button', { name: /^boreas: / }));
    await user.click(await screen.findByRole('button', { name: 'Plan a drain…' }));
    const panel = await screen.findByRole('region', { name: 'Plan' });
    expect(await within(panel).findByText('boreas can be emptied with 2 moves.')).toBeVisible();
    expect(within(panel).getByText('db-1').closest('li')).toHaveTextContent('db-1boreasatlaswhile it runs, 55 s');
    expect(within(panel).getByRole('row', { name: /Machines awake/ })).toHaveTextContent('76');
    const apply = within(panel).getByRole('button', { name: 'Carry it out' });
    expect(apply).toHaveAttribute('aria-disabled', 'true');
    expect(apply).toHaveAccessibleDescription(/cannot move instances between machines yet/);
    expect(platform.asked.some(({ name }) => name === 'instance_act')).toBe(false);
  });

  it('marks on the map what would leave', async () => {
    const { user } = open('seven');
    await user.click(await screen.findByRole('button', { name: /^boreas: / }));
    await user.click(await screen.findByRole('button', { name: 'Plan a drain…' }));
    const block = await screen.findByRole('button', { name: /^db-1, / });
    await waitFor(() => expect(block).toHaveAttribute('data-departing', 'true'));
    await user.click(await screen.findByRole('button', { name: 'Close' }));
    await waitFor(() => expect(block).toHaveAttribute('data-departing', 'false'));
  });

  it('is drawn where a machine invites as long as it is empty', async () => {
    const scene = SCENES['strained']?.();
    if (!scene) throw new Error('there is no such scene');
    const instances = scene.instances.map((placed) => ({
      ...placed,
      instance: { ...placed.instance, spec: { ...placed.instance.spec, memory_mib: 512 } },
    }));
    const { user } = open('strained', { picture: { ...scene, instances } });
    expect(await screen.findByText('Drag Tiny Linux here')).toBeInTheDocument();
    await user.click(await screen.findByRole('button', { name: /^atlas: / }));
    await user.click(await screen.findByRole('button', { name: 'Plan a drain…' }));
    await screen.findByText('atlas can be emptied with 1 move.');
    expect(screen.queryByText('Drag Tiny Linux here')).toBeNull();
  });

  it('says that it holds no more when the pool has changed, and is made again', async () => {
    let standing: PlanStanding = { standing: 'holds' };
    const { user, platform } = open('seven', { standing: () => standing });
    await user.click(await screen.findByRole('button', { name: /^boreas: / }));
    await user.click(await screen.findByRole('button', { name: 'Plan a drain…' }));
    await screen.findByText('boreas can be emptied with 2 moves.');
    standing = {
      standing: 'changed',
      change: { changed: 'instance_elsewhere', instance: idOf(100_007), name: 'db-1', is: 'castor' },
    };
    platform.change({ removed: [idOf(100_013)] });
    const notice = await screen.findByText('The pool has changed. This plan holds no more.');
    expect(notice.parentElement).toHaveTextContent('db-1 is on castor now.');
    await user.click(screen.getByRole('button', { name: 'Plan again' }));
    await waitFor(() => expect(screen.queryByText('The pool has changed. This plan holds no more.')).toBeNull());
  });

  it('that changes nothing tells the pool as it is, once', async () => {
    const { user } = open('two');
    await user.click(await screen.findByRole('button', { name: 'Save power' }));
    const panel = await screen.findByRole('region', { name: 'Plan' });
    expect(await within(panel).findByText('No machine can sleep now.')).toBeVisible();
    expect(within(panel).getByRole('heading', { name: 'The pool now' })).toBeVisible();
    expect(within(panel).getByRole('row', { name: /Machines awake/ })).toHaveTextContent(/^Machines awake2$/);
    expect(within(panel).getByText(/^Now: /)).toBeVisible();
  });

  it('is asked for by name in the palette, too', async () => {
    const { user } = open('seven');
    await user.keyboard('{Control>}k{/Control}');
    await user.type(await screen.findByRole('combobox'), 'drain of atlas');
    await user.keyboard('{Enter}');
    const panel = await screen.findByRole('region', { name: 'Plan' });
    expect(await within(panel).findByText(/^atlas can/)).toBeVisible();
  });

  it('of an edit that is only thought is asked for in a form', async () => {
    const { user, platform } = open('seven');
    await user.click(await screen.findByRole('button', { name: 'What if…' }));
    const dialog = await screen.findByRole('dialog');
    const submit = within(dialog).getByRole('button', { name: 'See what it brings' });
    expect(submit).toHaveAccessibleDescription('Change something first.');
    await user.selectOptions(within(dialog).getByLabelText('Without the machine'), 'atlas');
    await user.click(submit);
    await waitFor(() =>
      expect(platform.asked.find(({ name }) => name === 'plan_make')).toMatchObject({
        args: { ask: { ask: 'what_if', edits: [{ edit: 'remove_machine', machine: idOf(2) }] } },
      }),
    );
  });
});

describe('a machine that is left alone', () => {
  it('says so on the map, and refuses what is dragged onto it', async () => {
    const { user, platform } = open('two');
    await user.click(await screen.findByRole('button', { name: /^atlas: / }));
    await user.click(await screen.findByRole('button', { name: 'Give it no new instances' }));
    expect(await screen.findByText('takes no new instances')).toBeInTheDocument();
    expect(platform.asked.at(-1)).toMatchObject({ name: 'machine_drain_set', args: { draining: true } });
    expect(await screen.findByRole('button', { name: 'Give it new instances again' })).toBeVisible();
  });
});

describe('the failure of a machine', () => {
  it('that could not be borne stands in the top line, and opens what would become of its instances', async () => {
    const { user } = open('strained');
    const warning = await screen.findByRole('button', { name: 'if atlas fails, 1 instance finds no room' });
    await user.click(warning);
    const panel = await screen.findByRole('region', { name: 'Plan' });
    expect(await within(panel).findByText('Without atlas, 1 instance finds no room.')).toBeVisible();
    expect(within(panel).getByText('needs 48 GiB, this computer has 22.7 GiB free')).toBeVisible();
    expect(screen.getByRole('button', { name: /^files, / })).toHaveAttribute('data-stranded', 'true');
  });
});

describe('the form for an instance', () => {
  it('answers by the pool of now, for as long as it is open', async () => {
    const { user, platform, session } = open('two');
    await user.click(await screen.findByRole('button', { name: 'New instance…' }));
    const dialog = await screen.findByRole('dialog');
    const atlas = await within(dialog).findByRole('radio', { name: /^atlas/ });
    expect(atlas).not.toHaveAccessibleName(/has 0 MiB free/);
    const machine = [...session.pool.getState().pool.machines.values()].find(({ name }) => name === 'atlas');
    const usage = machine?.usage;
    if (!machine || !usage) throw new Error('the scene has no usage of atlas');
    act(() => platform.change({ machines: [{ ...machine, usage: { ...usage, memory_free_mib: 0 } }] }));
    await waitFor(() => expect(atlas).toHaveAccessibleName(/atlas has 0 MiB free/));
  });
});

describe('several at once', () => {
  it('show where they would go, and are created together', async () => {
    const { user, platform } = open('two');
    await user.click(await screen.findByRole('button', { name: 'New instance…' }));
    const dialog = await screen.findByRole('dialog');
    const count = within(dialog).getByLabelText('How many');
    await user.clear(count);
    await user.type(count, '2');
    await user.click(within(dialog).getByLabelText(/Keep them apart/));
    expect(await within(dialog).findByText('1 on atlas')).toBeVisible();
    await user.click(within(dialog).getByRole('button', { name: 'Start 2' }));
    await waitFor(() => expect(screen.queryByRole('dialog')).toBeNull());
    expect(platform.asked.find(({ name }) => name === 'batch_create')).toMatchObject({ args: { batch: { apart: true } } });
  });

  it('that keep apart need as many machines, and it is said how many there are', async () => {
    const { user } = open('two');
    await user.click(await screen.findByRole('button', { name: 'New instance…' }));
    const dialog = await screen.findByRole('dialog');
    const count = within(dialog).getByLabelText('How many');
    await user.clear(count);
    await user.type(count, '3');
    await user.click(within(dialog).getByLabelText(/Keep them apart/));
    expect(await within(dialog).findByText('3 that keep apart need 3 machines, and 2 can take one.')).toBeVisible();
    expect(within(dialog).getByRole('button', { name: 'Start 3' })).toHaveAttribute('aria-disabled', 'true');
  });
});
