import { screen, waitFor, within } from '@testing-library/react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { startWords } from '../i18n';
import { idOf, SCENES } from '../platform/testing/scenes';
import { ScriptedPlatform, type Script } from '../platform/testing/scripted';
import type { Session } from '../session';
import { openScene } from '../testing/openScene';
import { openWindow } from './openWindow';

// A terminal needs a real screen; the end-to-end tests have one.
vi.mock('../features/console/screen', () => ({
  openScreen: () => ({ write: () => undefined, paint: () => undefined, dispose: () => undefined }),
}));

let session: Session;

function open(...scene: Parameters<typeof openScene>) {
  const opened = openScene(...scene);
  session = opened.session;
  return opened;
}

beforeEach(() => startWords('en'));
afterEach(() => session.end());

describe('the window', () => {
  it('shows the machines, says that it is drawn, and teaches a newcomer', async () => {
    const { platform } = open('one');
    expect(await screen.findByRole('button', { name: /^This computer: 0 of 22.7 GiB/ })).toBeVisible();
    expect(screen.getByText('Drag Tiny Linux here')).toBeInTheDocument();
    expect(screen.getByRole('heading', { name: 'Start a server' })).toBeVisible();
    await waitFor(() => expect(platform.isDrawn).toBe(true));
    const reads = platform.asked.map(({ name }) => name).filter((name) => /_get$|_list$/.test(name));
    expect(reads.sort()).toEqual(['activity_list', 'pool_get', 'templates_list']);
  });

  it.each(['en', 'zh-CN'])('shows what the page brought along in its first frame: %s', async (language) => {
    const scene = SCENES['seven'];
    if (!scene) throw new Error('there is no such scene');
    const platform = new ScriptedPlatform({ picture: scene(), settings: { theme: 'light', language, placement: 'spread' } });
    const brought = await platform.call('window_open', {});
    platform.asked.length = 0;
    document.body.innerHTML = '<div id="root"></div>';
    const opened = openWindow(Object.assign(platform, { brought }));
    // Promises that hold already are all that it may wait for: whatever has to be read first comes a frame too late.
    await new Promise((resolve) => {
      setTimeout(resolve);
    });
    expect(screen.getByRole('button', { name: /^atlas/ })).toBeInTheDocument();
    expect(document.documentElement.lang).toBe(language);
    session = await opened;
    expect(platform.asked.some(({ name }) => name === 'window_open')).toBe(false);
    await waitFor(() => expect(platform.isDrawn).toBe(true));
    document.body.replaceChildren();
  });

  it('starts an instance by keyboard alone', async () => {
    const { platform, user } = open('seven');
    const card = await screen.findByRole('button', { name: 'Tiny Linux' });
    card.focus();
    await user.keyboard('{Enter}');
    await waitFor(() => expect(statusTexts().join(' ')).toMatch(/Tiny Linux lifted.*Open water: fornax is the best/));
    await user.keyboard('{ArrowRight}{ArrowRight}');
    await waitFor(() => expect(statusTexts()).toContain('atlas: fits · 25.8 GiB left after, score 0.49'));
    await user.keyboard('{Enter}');
    await waitFor(() =>
      expect(platform.asked.find(({ name }) => name === 'instance_create')).toMatchObject({
        args: { machine: idOf(2) },
      }),
    );
    expect(await screen.findByRole('heading', { name: 'tiny-2' })).toBeVisible();
  });

  it('puts a lifted card back on Escape', async () => {
    const { platform, user } = open('one');
    (await screen.findByRole('button', { name: 'Tiny Linux' })).focus();
    await user.keyboard(' {Escape}');
    expect(statusTexts()).toContain('Put back. Nothing was started.');
    expect(platform.asked.some(({ name }) => name === 'instance_create')).toBe(false);
  });

  it('starts an instance from the menu, where a machine that refuses says why', async () => {
    const { platform, user } = open('seven');
    await user.pointer({ keys: '[MouseRight]', target: await screen.findByRole('button', { name: 'big-server' }) });
    const menu = await screen.findByRole('menu');
    const castor = within(menu).getByRole('menuitem', { name: /castor/ });
    expect(castor).toHaveTextContent('needs 8 GiB, castor has 2 GiB free');
    expect(castor).toHaveAttribute('aria-disabled', 'true');
    await user.click(within(menu).getByRole('menuitem', { name: /boreas/ }));
    await waitFor(() =>
      expect(platform.asked.find(({ name }) => name === 'instance_create')).toMatchObject({
        args: { machine: idOf(3), request: { memory_mib: 8192 } },
      }),
    );
  });

  it('keeps a forbidden action in sight and says why', async () => {
    const { platform, user } = open('one_running');
    await user.click(await screen.findByRole('button', { name: /^build-1, stopped/ }));
    const stop = await screen.findByRole('button', { name: 'Stop' });
    expect(stop).toHaveAccessibleDescription('It is stopped.');
    await user.click(stop);
    expect(platform.asked.some(({ name }) => name === 'instance_act')).toBe(false);
    await user.click(screen.getByRole('button', { name: 'Start' }));
    expect(platform.asked.at(-1)).toMatchObject({ name: 'instance_act', args: { action: 'start' } });
  });

  it('shows why an instance failed, with the end of the log', async () => {
    const { user } = open('one_running');
    await user.click(await screen.findByRole('button', { name: /^tiny-3, failed/ }));
    expect(await screen.findByText('QEMU ended with signal 9 while the guest ran.')).toBeVisible();
    expect(screen.getByRole('region', { name: 'The end of the engine’s log' })).toHaveTextContent('Cannot allocate');
  });

  it('says how much of its image’s disk is copied while an instance is made', async () => {
    const picture = SCENES['one_running']?.();
    if (!picture) throw new Error('there is no such scene');
    const instances = picture.instances.map((placed) =>
      placed.instance.spec.name === 'build-1'
        ? { ...placed, instance: { ...placed.instance, state: 'creating' as const, engine: null, copied_percent: 42 } }
        : placed,
    );
    const { user } = open('one_running', { picture: { ...picture, instances } });
    await user.click(await screen.findByRole('button', { name: /^build-1, being created/ }));
    expect(await screen.findByText(/^Copying the image’s disk: 42% · .* so far$/)).toBeVisible();
    expect(screen.getByRole('button', { name: 'Delete' })).toBeEnabled();
  });

  it('shows what a guest says of itself, as it is written', async () => {
    const picture = SCENES['one_running']?.();
    if (!picture) throw new Error('there is no such scene');
    const said = 'cloud-init: <b>done</b>';
    const instances = picture.instances.map((placed) =>
      placed.instance.spec.name === 'tiny-1' ? { ...placed, instance: { ...placed.instance, guest_status: said } } : placed,
    );
    const { user } = open('one_running', { picture: { ...picture, instances } });
    await user.click(await screen.findByRole('button', { name: /^build-1/ }));
    expect(await screen.findByText('Engine')).toBeVisible();
    expect(screen.queryByText('Guest says')).toBeNull();
    await user.click(screen.getByRole('button', { name: /^tiny-1/ }));
    expect(await screen.findByText(said)).toBeVisible();
    expect(screen.getByText('Guest says')).toBeVisible();
  });

  it('does anything from the palette', async () => {
    const { user } = open('one_running');
    await screen.findByRole('button', { name: /^tiny-1/ });
    await user.keyboard('{Control>}k{/Control}');
    await user.type(await screen.findByRole('combobox'), 'stop tiny-1{Enter}');
    await waitFor(() => expect(screen.queryByRole('combobox')).toBeNull());
  });

  it('walks the map with the arrow keys and one Tab stop', async () => {
    const { user } = open('seven');
    const first = await screen.findByRole('button', { name: /^This computer: / });
    first.focus();
    await user.keyboard('{ArrowRight}');
    expect(screen.getByRole('button', { name: /^atlas: / })).toHaveFocus();
    await user.keyboard('{ArrowDown}');
    expect(document.activeElement).toHaveAttribute('data-instance-name', 'files');
    await user.keyboard('{Escape}');
    expect(screen.getByRole('button', { name: /^atlas: / })).toHaveFocus();
    const map = screen.getByRole('main');
    expect(map.querySelectorAll('[data-map-stop][tabindex="0"]')).toHaveLength(1);
  });

  it('speaks Chinese from one moment to the next', async () => {
    const { platform, user } = open('one');
    await user.click(await screen.findByRole('button', { name: 'Settings' }));
    await user.click(await screen.findByRole('menuitemradio', { name: '简体中文' }));
    expect(await screen.findByText('本机')).toBeVisible();
    expect(document.documentElement.lang).toBe('zh-CN');
    expect(platform.asked.at(-1)).toMatchObject({ args: { settings: { language: 'zh-CN' } } });
  });
});

describe('adding a machine', () => {
  const question = {
    outcome: 'confirm_host_key',
    question: { address: 'atlas:22', key_type: 'ssh-ed25519', fingerprint: 'SHA256:abcdefghijkl' },
  } as const;

  async function connect(script: Partial<Script>) {
    const opened = open('one', script);
    await opened.user.click(await screen.findByRole('button', { name: /^Add a machine/ }));
    const dialog = await screen.findByRole('dialog');
    await opened.user.type(within(dialog).getByLabelText('Host'), 'atlas');
    await opened.user.click(within(dialog).getByRole('button', { name: 'Connect' }));
    return { ...opened, dialog };
  }

  it('waits for the fingerprint to be compared, then asks for what is missing', async () => {
    const { user, dialog, platform } = await connect({
      adding: [question, { outcome: 'password_needed', user: 'admin', refused: false }],
    });
    expect(await within(dialog).findByText('abcdefgh')).toBeVisible();
    expect(within(dialog).getByText(/ssh-keygen -lf .*ed25519/)).toBeVisible();
    await user.click(within(dialog).getByRole('button', { name: /trust it/ }));
    await user.type(await within(dialog).findByLabelText('Password'), 'secret');
    await user.click(within(dialog).getByRole('button', { name: 'Continue' }));
    expect(await within(dialog).findByRole('heading', { name: 'newcomer is in the pool' })).toBeVisible();
    expect(platform.asked.filter(({ name }) => name === 'machine_add').at(-1)).toMatchObject({
      // What was typed as the host is what the machine is called.
      args: { request: { name: 'atlas', accepted_fingerprint: 'SHA256:abcdefghijkl', password: 'secret' } },
    });
  });

  it('refuses a changed key with no way to click on', async () => {
    const { dialog } = await connect({
      adding: [
        {
          code: 'host_key_changed',
          message: 'changed',
          details: { address: 'atlas:2222', key_type: 'ssh-ed25519', fingerprint: 'SHA256:xyz', known_hosts_line: 3 },
        },
      ],
    });
    expect(await within(dialog).findByText('The key of this machine has changed')).toBeVisible();
    expect(within(dialog).getByText("ssh-keygen -R '[atlas]:2222'")).toBeVisible();
    const buttons = within(dialog).getAllByRole('button');
    expect(buttons.map((button) => button.getAttribute('aria-label') ?? button.textContent)).toEqual(['Close', 'Close']);
  });

  it('takes the machine’s own name where an address was typed', async () => {
    const { platform, user } = open('one', { adding: [question] });
    await user.click(await screen.findByRole('button', { name: /^Add a machine/ }));
    const dialog = await screen.findByRole('dialog');
    await user.type(within(dialog).getByLabelText('Host'), '192.0.2.7');
    await user.click(within(dialog).getByRole('button', { name: 'Connect' }));
    await waitFor(() => expect(platform.asked.at(-1)).toMatchObject({ args: { request: { name: null } } }));
  });

  it('names the remedy where no agent runs', async () => {
    const { dialog } = await connect({ adding: [{ code: 'agent_missing', message: 'no agent', details: {} }] });
    expect(await within(dialog).findByText(/host-runner serve/)).toBeVisible();
  });
});

function statusTexts(): string[] {
  return screen.getAllByRole('status').map((status) => status.textContent);
}
