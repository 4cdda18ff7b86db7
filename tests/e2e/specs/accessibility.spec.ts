import { AxeBuilder } from '@axe-core/playwright';
import type { Page } from '@playwright/test';

import { expect, test } from '../support/window.ts';

const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

async function violations(page: Page): Promise<string[]> {
  const { violations: found } = await new AxeBuilder({ page }).withTags(RULES).analyze();
  return found.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html}\n${node.failureSummary ?? ''}`));
}

for (const theme of ['Light', 'Dark'] as const) {
  test(`everything can be read and reached: ${theme.toLowerCase()}`, async ({ window, page }) => {
    await page.emulateMedia({ reducedMotion: 'reduce' });
    await page.getByRole('button', { name: 'Settings' }).click();
    await page.getByRole('menuitemradio', { name: `Theme: ${theme}` }).click();
    await expect(page.locator('html')).toHaveAttribute('data-theme', theme.toLowerCase());
    expect(await violations(page), 'the pool').toEqual([]);

    await window.dragOver('Roomy Linux', 'This computer');
    expect(await violations(page), 'a drag that is refused').toEqual([]);
    await page.keyboard.press('Escape');
    await window.drop();

    await window.vessel('This computer').click();
    await expect(window.panel('Machine')).toBeVisible();
    expect(await violations(page), 'a machine').toEqual([]);

    await page.getByRole('button', { name: /^Add a machine/ }).click();
    expect(await violations(page), 'the dialog that adds a machine').toEqual([]);
    await page.keyboard.press('Escape');

    await page.getByRole('button', { name: 'New instance…' }).click();
    expect(await violations(page), 'the form for an instance').toEqual([]);
    await page.keyboard.press('Escape');

    await page.keyboard.press('Control+k');
    expect(await violations(page), 'the palette').toEqual([]);
    await page.keyboard.press('Escape');

    await page.getByRole('button', { name: 'Show the activity list' }).click();
    expect(await violations(page), 'the activity list').toEqual([]);

    await window.dragOver('Tiny Linux', 'This computer');
    await expect(window.machine('This computer')).toHaveAttribute('data-standing', 'best');
    expect(await violations(page), 'a drag that fits').toEqual([]);
    await window.drop();
    await expect(window.panel('Instance').getByText(/^Ready in /)).toBeVisible({ timeout: 60_000 });
    expect(await violations(page), 'an instance').toEqual([]);
    await window.panel('Instance').getByRole('tab', { name: 'Console' }).click();
    await expect(window.consoleText()).toContainText('login:');
    expect(await violations(page), 'a console').toEqual([]);
    await window.panel('Instance').getByRole('tab', { name: 'Overview' }).click();
    await window.deleteOpenInstance();
  });
}
