import { expect, test } from '../support/window.ts';

test('the main job by keyboard alone', async ({ window, page }) => {
  // From the top of the page: no pointer touches it.
  await expect
    .poll(async () => {
      await page.keyboard.press('Tab');
      return window.card('Tiny Linux').evaluate((card) => card === document.activeElement);
    })
    .toBe(true);
  await page.keyboard.press('Enter');
  await expect(page.getByRole('status').filter({ hasText: 'Open water: this computer is the best.' })).toBeAttached();
  await page.keyboard.press('ArrowRight');
  await expect(page.getByRole('status').filter({ hasText: /this computer: best · 472 MiB left after/ })).toBeAttached();
  await page.keyboard.press('Enter');
  await expect(window.panel('Instance').getByText(/^Ready in /)).toBeVisible({ timeout: 60_000 });

  await page.keyboard.press('Control+k');
  await page.keyboard.type('console tiny');
  await expect(page.getByRole('option', { name: /Console of tiny-/ })).toHaveAttribute('aria-selected', 'true');
  await page.keyboard.press('Enter');
  await expect(window.consoleText()).toContainText('login:');
  await page.keyboard.type('root\n');
  await expect(window.consoleText()).toContainText(':/root#');
  await page.keyboard.press('Control+Shift+Escape');

  await page.keyboard.press('Control+k');
  await page.keyboard.type('force stop tiny');
  await page.keyboard.press('Enter');
  await expect(window.blocks().first()).toHaveAttribute('data-phase', 'stopped', { timeout: 30_000 });

  // The block itself: into the map, down from its machine, and the Delete key.
  await window.vessel('This computer').focus();
  await page.keyboard.press('ArrowDown');
  await expect(window.blocks().first()).toBeFocused();
  await page.keyboard.press('Delete');
  await expect(page.getByText(/will be deleted with its disk/)).toBeVisible();
  await expect(window.blocks()).toHaveCount(0, { timeout: 30_000 });
});

test('a delete can be taken back', async ({ window, page }) => {
  await window.card('Tiny Linux').focus();
  await page.keyboard.press('Enter');
  await expect(window.machine('This computer')).toHaveAttribute('data-standing', 'best');
  await page.keyboard.press('Enter');
  await expect(window.blocks()).toHaveCount(1);
  const instance = window.panel('Instance');
  await instance.getByRole('button', { name: 'Delete', exact: true }).click();
  await page.getByRole('button', { name: 'Undo' }).click();
  await expect(page.getByText(/ stays\.$/)).toBeVisible();
  await expect(instance.getByText(/^Ready in /)).toBeVisible({ timeout: 60_000 });
  await window.deleteOpenInstance();
});
