import { expect, test } from '../support/window.ts';

test('the form takes every number, and how fast the disk and the network may be', async ({ window, page }) => {
  await page.getByRole('button', { name: 'New instance…' }).click();
  const form = page.getByRole('dialog', { name: 'New instance' });
  await form.getByLabel('Name').fill('slow-disk');
  await form.getByLabel('Disk, MiB').fill('24');
  const speed = form.getByLabel('Disk speed at most, MiB/s');
  await speed.fill('0');
  await expect(form.getByText('A whole number from 1 to 1,048,576.')).toBeVisible();
  await speed.fill('20');
  const network = form.getByLabel('Network speed at most, Mbit/s');
  await network.fill('1000001');
  await expect(form.getByText('A whole number from 1 to 1,000,000.')).toBeVisible();
  await network.fill('');
  await form.getByRole('button', { name: 'Start' }).click();

  const instance = window.panel('Instance');
  await expect(instance.getByText(/^Ready in /)).toBeVisible({ timeout: 60_000 });
  await expect(instance.getByText('At most 20 MiB a second')).toBeVisible();
  await window.deleteOpenInstance();
  await expect(window.blocks()).toHaveCount(0);
});
