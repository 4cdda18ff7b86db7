import { expect, test } from '../support/window.ts';

test('drag, boot, console, stop: the main job with the pointer', async ({ window, page }) => {
  await window.dragOver('Tiny Linux', 'This computer');
  await expect(window.machine('This computer')).toHaveAttribute('data-standing', 'best');
  await expect(window.machine('This computer')).toContainText('best · 472 MiB left after');
  await expect(window.panel('Why').getByRole('heading', { name: 'Why this computer' })).toBeVisible();
  await expect(window.panel('Why').getByRole('row', { name: /Memory left after/ })).toContainText('0.79');
  await window.drop();

  const instance = window.panel('Instance');
  await expect(instance.getByRole('heading', { name: 'tiny-1' })).toBeVisible();
  await expect(instance.getByText(/^Ready in /)).toBeVisible({ timeout: 60_000 });
  await expect(instance.getByText('emulated').or(instance.getByText('running')).first()).toBeVisible();
  await expect(window.blocks().filter({ hasText: 'tiny-1' })).toHaveAttribute('data-phase', 'ready');

  await instance.getByRole('button', { name: 'Open console' }).click();
  await expect(window.consoleText()).toContainText('tiny-1 login:');
  await page.keyboard.type('root\n');
  await expect(window.consoleText()).toContainText('tiny-1:/root#');
  await page.keyboard.type('echo answer=$((6*7))\n');
  await expect(window.consoleText()).toContainText('answer=42');
  await page.keyboard.press('Control+Shift+Escape');
  await expect(page.getByText('Ctrl+Shift+Esc leaves the console')).toBeFocused();

  await instance.getByRole('tab', { name: 'Overview' }).click();
  await instance.getByRole('button', { name: 'Stop', exact: true }).click();
  await expect(window.blocks().first()).toHaveAttribute('data-phase', 'stopped', { timeout: 60_000 });
  await expect(instance.getByRole('button', { name: 'Stop', exact: true })).toHaveAccessibleDescription('It is stopped.');

  await window.deleteOpenInstance();
  await expect(window.blocks()).toHaveCount(0);
});

test('Escape puts a lifted card back', async ({ window, page }) => {
  await window.dragOver('Tiny Linux', 'This computer');
  await page.keyboard.press('Escape');
  await window.drop();
  await expect(window.panel('Why')).toBeHidden();
  await expect(window.blocks()).toHaveCount(0);
});

test('a card that is held follows what another window does meanwhile', async ({ window, another }) => {
  const left = window.panel('Why').getByRole('row', { name: /Memory left after/ });
  await window.dragOver('Tiny Linux', 'This computer');
  await expect(left).toContainText('0.79');
  await another.start('Tiny Linux');
  await expect(left).toContainText('0.57');
  await expect(window.machine('This computer')).toContainText('best · 344 MiB left after');
  await another.deleteOpenInstance();
  await expect(left).toContainText('0.79');
  await window.page.keyboard.press('Escape');
  await window.drop();
  await expect(window.blocks()).toHaveCount(0);
});

test('a drop on a machine that is too small creates nothing and shows the numbers', async ({ window }) => {
  await window.dragOver('Roomy Linux', 'This computer');
  const machine = window.machine('This computer');
  await expect(machine).toHaveAttribute('data-standing', 'refused');
  await expect(machine).toContainText('needs 1 GiB, this computer has 600 MiB free');
  await expect(window.panel('Why').getByRole('heading', { name: 'Why not this computer' })).toBeVisible();
  await window.drop();
  await expect(window.alert()).toContainText('Not started on this computer');
  await expect(window.alert()).toContainText('needs 1 GiB, this computer has 600 MiB free');
  await expect(window.blocks()).toHaveCount(0);
});
