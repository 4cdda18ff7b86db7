import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, test as base, type Locator, type Page } from '@playwright/test';

import { Agent } from './agent.ts';
import { programPath, ROOT, Running } from './process.ts';
import type { SshServer } from './sshd.ts';

/** What this computer's agent offers: room for a few Tiny Linux, none for Roomy Linux. */
export const OFFERED_MIB = 600;

/** The app without its frame: an agent for this computer, and the window's other half serving the built page. */
export interface Desk {
  readonly url: string;
  readonly folder: string;
}

interface WorkerFixtures {
  readonly desk: Desk;
}

/** Tests over a desk; each has the window open, and `another` where it asks for it. */
export const test = base.extend<{ window: PoolWindow; another: PoolWindow }, WorkerFixtures>({
  desk: [
    // Playwright reads the fixture's needs from this pattern.
    // eslint-disable-next-line no-empty-pattern
    async ({}, use) => {
      const folder = mkdtempSync(join(tmpdir(), 'millpond-e2e-'));
      const home = join(folder, 'home');
      mkdirSync(home, { mode: 0o700 });
      const agent = await Agent.start(join(folder, 'here'), OFFERED_MIB);
      const [server, url] = await Running.start(
        'millpond-dev-server',
        programPath('millpond-dev-server'),
        ['--port', '0', '--data-dir', join(folder, 'data'), '--page', join(ROOT, 'ui/dist')],
        // A home of its own: a test must not read or write anybody's known_hosts.
        { ...process.env, HOME: home, MILLPOND_AGENT_SOCKET: agent.socket, SSH_AUTH_SOCK: '' },
        (log) => /listening on (http:\S+)/.exec(log)?.[1],
      );
      await use({ url, folder });
      await server.stop();
      await agent.stop();
      rmSync(folder, { recursive: true, force: true });
    },
    { scope: 'worker', timeout: 120_000 },
  ],
  window: async ({ page, desk }, use) => opened(page, desk, use),
  another: async ({ browser, desk }, use) => {
    // Of its own browser's context, as it is somebody else's: neither covers the other.
    const context = await browser.newContext();
    await opened(await context.newPage(), desk, use);
    await context.close();
  },
});

/** A window for as long as it is used. */
async function opened(page: Page, desk: Desk, use: (window: PoolWindow) => Promise<void>): Promise<void> {
  const trouble: string[] = [];
  page.on('pageerror', (error) => trouble.push(error.message));
  await page.goto(desk.url);
  const window = new PoolWindow(page);
  await expect(window.vessel('This computer')).toBeVisible();
  await use(window);
  expect(trouble, 'errors of the page').toEqual([]);
}

/** The window, in the words of somebody who uses it. */
export class PoolWindow {
  constructor(readonly page: Page) {}

  card(name: string): Locator {
    return this.page.getByRole('navigation', { name: 'Templates' }).getByRole('button', { name, exact: true });
  }

  /** A machine as the button that opens it. */
  vessel(name: string): Locator {
    return this.page.getByRole('main').getByRole('button', { name: new RegExp(`^${name}: `) });
  }

  /** Everything that is drawn of a machine, with its caption. */
  machine(name: string): Locator {
    return this.page.getByRole('listitem').filter({ has: this.page.getByRole('button', { name: new RegExp(`^${name}: `) }) });
  }

  blocks(): Locator {
    return this.page.locator('[data-instance-name]');
  }

  panel(name: 'Instance' | 'Machine' | 'Plan' | 'Why'): Locator {
    return this.page.getByRole('region', { name, exact: true });
  }

  console(): Locator {
    return this.page.getByTestId('console');
  }

  /** What the console shows, as screen readers are given it. */
  consoleText(): Locator {
    return this.console().locator('.xterm-accessibility-tree');
  }

  alert(): Locator {
    return this.page.getByRole('region', { name: 'Notices' }).getByRole('alert');
  }

  /** Adds a machine over SSH under a name, trusting the key that it shows. */
  async addMachine(name: string, server: SshServer): Promise<void> {
    await this.page.getByRole('button', { name: /^Add a machine/ }).click();
    const dialog = this.page.getByRole('dialog', { name: 'Add a machine' });
    await dialog.getByLabel('Host').fill('127.0.0.1');
    await dialog.getByLabel('Name in this pool').fill(name);
    await dialog.getByLabel('User').fill(server.user);
    await dialog.getByLabel('Port').fill(String(server.port));
    await dialog.getByLabel('Key file').fill(server.identityFile);
    await dialog.getByRole('button', { name: 'Connect' }).click();
    await dialog.getByRole('button', { name: 'It is the same: trust it' }).click();
    await dialog.getByRole('button', { name: 'Done' }).click();
    await expect(this.vessel(name)).toBeVisible();
  }

  /** Lifts a card with the pointer and holds it over a machine. */
  async dragOver(card: string, machine: string): Promise<void> {
    const from = await box(this.card(card));
    const to = await box(this.vessel(machine));
    await this.page.mouse.move(from.x + 40, from.y + 20);
    await this.page.mouse.down();
    await this.page.mouse.move(to.x + to.width / 2, to.y + Math.min(60, to.height / 2), { steps: 10 });
    await expect(this.panel('Why')).toBeVisible();
  }

  async drop(): Promise<void> {
    await this.page.mouse.up();
  }

  /** Starts an instance of a template on this computer. */
  async start(template: string): Promise<void> {
    await this.dragOver(template, 'This computer');
    await this.drop();
    await expect(this.panel('Instance').getByText(/^Ready in /)).toBeVisible({ timeout: 60_000 });
  }

  /** Deletes the instance whose panel is open, and waits until it is gone. */
  async deleteOpenInstance(): Promise<void> {
    await this.panel('Instance').getByRole('button', { name: 'Delete', exact: true }).click();
    await expect(this.panel('Instance').getByText('This instance is gone.')).toBeVisible({ timeout: 30_000 });
  }
}

async function box(locator: Locator) {
  await locator.scrollIntoViewIfNeeded();
  const found = await locator.boundingBox();
  if (!found) throw new Error('it is not on the screen');
  return found;
}

export { expect };
