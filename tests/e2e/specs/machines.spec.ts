import { join } from 'node:path';

import type { Locator, Page } from '@playwright/test';

import { Agent } from '../support/agent.ts';
import { SshServer } from '../support/sshd.ts';
import { expect, test } from '../support/window.ts';

/** Adds a machine to the pool, whose host key is compared, and waits until it is connected. */
async function addToPool(page: Page, server: SshServer): Promise<Locator> {
  await page.getByRole('button', { name: /^Add a machine/ }).click();
  const dialog = page.getByRole('dialog', { name: 'Add a machine' });
  await dialog.getByLabel('Host').fill('127.0.0.1');
  await dialog.getByLabel('User').fill(server.user);
  await dialog.getByLabel('Port').fill(String(server.port));
  await dialog.getByLabel('Key file').fill(server.identityFile);
  await dialog.getByRole('button', { name: 'Connect' }).click();

  const shown = dialog.getByRole('group', { name: 'Fingerprint' }).getByRole('code');
  await expect(shown).toHaveText(server.fingerprint.replace('SHA256:', ''));
  await dialog.getByRole('button', { name: 'It is the same: trust it' }).click();
  await expect(dialog.getByRole('heading', { name: /is in the pool$/ })).toBeVisible();
  await dialog.getByRole('button', { name: 'Done' }).click();

  const newcomer = page.locator('[data-machine-id]').nth(1);
  await expect(newcomer).toHaveAttribute('data-link', 'connected');
  return newcomer;
}

test('a machine over SSH: its key is compared, it joins, and another key is refused', async ({ window, page, desk }) => {
  const agent = await Agent.start(join(desk.folder, 'there'), 96);
  const server = await SshServer.start(join(desk.folder, 'ssh'), agent.socket);
  const newcomer = await addToPool(page, server);

  await window.card('Tiny Linux').focus();
  await page.keyboard.press('Enter');
  await expect(newcomer).toContainText(/needs 128 MiB, .* has 96 MiB free/);
  await page.keyboard.press('Escape');

  await server.returnWithAnotherKey();
  await expect(newcomer).toHaveAttribute('data-link', 'refused', { timeout: 60_000 });
  const panel = window.panel('Machine');
  await expect(panel.getByText(/key of .* has changed/)).toBeVisible();
  await expect(panel.getByRole('button', { name: /trust|accept/i })).toHaveCount(0);

  await panel.getByRole('button', { name: 'Remove from this pool' }).click();
  await expect(page.locator('[data-machine-id]')).toHaveCount(1);
  await server.stop();
  await agent.stop();
});

test('a machine whose link is cut while a card is held over it takes the card no more', async ({ window, page, desk }) => {
  const agent = await Agent.start(join(desk.folder, 'cut-off'), 300);
  const server = await SshServer.start(join(desk.folder, 'cut-off-ssh'), agent.socket);
  const newcomer = await addToPool(page, server);
  const name = (await newcomer.getAttribute('data-machine-name')) ?? '';

  await window.dragOver('Tiny Linux', name);
  await expect(newcomer).toHaveAttribute('data-standing', /^(best|fits)$/);
  await server.stop();
  await expect(newcomer).toHaveAttribute('data-standing', 'refused', { timeout: 30_000 });
  await expect(window.panel('Why')).toContainText(`${name} cannot be reached`);
  await window.drop();
  await expect(window.alert()).toContainText(`${name} cannot be reached`);
  await expect(window.blocks()).toHaveCount(0);

  await window.vessel(name).click();
  await window.panel('Machine').getByRole('button', { name: 'Remove from this pool' }).click();
  await expect(page.locator('[data-machine-id]')).toHaveCount(1);
  await agent.stop();
});
