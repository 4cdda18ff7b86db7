import { defineConfig } from '@playwright/test';

import { chromiumPath } from './support/chromium.ts';

/** The window in Chromium, against the real agent, real guests and a real SSH server. */
export default defineConfig({
  testDir: 'specs',
  globalSetup: './support/image.ts',
  // Guests are emulated, and a machine has two cores: one at a time.
  workers: 1,
  fullyParallel: false,
  forbidOnly: true,
  retries: 0,
  timeout: 120_000,
  expect: { timeout: 15_000 },
  reporter: [['list']],
  outputDir: 'test-results',
  use: {
    viewport: { width: 1280, height: 800 },
    locale: 'en-US',
    colorScheme: 'light',
    screenshot: 'only-on-failure',
    trace: 'retain-on-failure',
    launchOptions: {
      executablePath: chromiumPath(),
      // Chromium's own sandbox does not start as root.
      args: ['--no-sandbox', '--disable-dev-shm-usage'],
    },
  },
});
