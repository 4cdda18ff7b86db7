import { join } from 'node:path';

import { Agent } from '../support/agent.ts';
import { SshServer } from '../support/sshd.ts';
import { expect, test } from '../support/window.ts';

test('two machines: a drain is planned and grows stale; three that keep apart find no place', async ({
  window,
  page,
  desk,
}) => {
  // The desk is that of all specs: each other machine has a folder of its own there.
  const folder = join(desk.folder, 'boreas');
  const agent = await Agent.start(join(folder, 'agent'), 600);
  const server = await SshServer.start(join(folder, 'ssh'), agent.socket);
  await window.addMachine('boreas', server);

  await test.step('three that keep apart are refused in one sentence, and nothing is created', async () => {
    await page.getByRole('button', { name: 'New instance…' }).click();
    const dialog = page.getByRole('dialog', { name: 'New instance' });
    await dialog.getByLabel('How many').fill('3');
    await dialog.getByLabel(/Keep them apart/).check();
    await expect(dialog.getByText('3 that keep apart need 3 machines, and 2 can take one.')).toBeVisible();
    const start = dialog.getByRole('button', { name: 'Start 3' });
    await expect(start).toHaveAttribute('aria-disabled', 'true');
    await dialog.getByLabel('How many').fill('2');
    await expect(dialog.getByText('1 on boreas')).toBeVisible();
    await page.keyboard.press('Escape');
    await expect(window.blocks()).toHaveCount(0);
  });

  await test.step('a machine can be emptied on paper', async () => {
    await window.dragOver('Tiny Linux', 'This computer');
    await window.drop();
    const instance = window.panel('Instance');
    await expect(instance.getByText(/^Ready in /)).toBeVisible({ timeout: 60_000 });
    // Stopped, it needs no CPU: whether boreas has any to spare depends on what else runs here.
    await instance.getByRole('button', { name: 'Stop', exact: true }).click();
    const block = window.blocks().filter({ hasText: 'tiny-1' });
    await expect(block).toHaveAttribute('data-phase', 'stopped', { timeout: 60_000 });

    await window.vessel('This computer').click({ position: { x: 12, y: 12 } });
    await window.panel('Machine').getByRole('button', { name: 'Plan a drain…' }).click();
    const plan = window.panel('Plan');
    await expect(plan.getByText('this computer can be emptied with 1 move.')).toBeVisible();
    await expect(plan.getByRole('listitem').filter({ hasText: 'tiny-1' }).last()).toContainText('boreas');
    await expect(block).toHaveAttribute('data-departing', 'true');
    const apply = plan.getByRole('button', { name: 'Carry it out' });
    await expect(apply).toHaveAttribute('aria-disabled', 'true');
    await expect(apply).toHaveAccessibleDescription(/cannot move instances between machines yet/);
  });

  await test.step('the plan says when it holds no more', async () => {
    const block = window.blocks().filter({ hasText: 'tiny-1' });
    await block.focus();
    await page.keyboard.press('Delete');
    await expect(window.blocks()).toHaveCount(0, { timeout: 30_000 });
    const plan = window.panel('Plan');
    await expect(plan.getByText('The pool has changed. This plan holds no more.')).toBeVisible({ timeout: 30_000 });
    await expect(plan.getByText('tiny-1 is gone.')).toBeVisible();
    await plan.getByRole('button', { name: 'Plan again' }).click();
    await expect(plan.getByText('Nothing is on this computer: it can be switched off.')).toBeVisible();
  });

  await page.getByRole('button', { name: 'Close' }).click();
  await window.vessel('boreas').click();
  await window.panel('Machine').getByRole('button', { name: 'Remove from this pool' }).click();
  await expect(page.locator('[data-machine-id]')).toHaveCount(1);
  await server.stop();
  await agent.stop();
});
