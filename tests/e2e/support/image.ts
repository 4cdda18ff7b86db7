import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { programPath } from './process.ts';

/** Where every agent of the tests copies its images from. */
export const IMAGES_VARIABLE = 'MILLPOND_E2E_IMAGES';

/** Makes Tiny Linux once for all tests; the answer removes it again. */
export default function makeImage(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'millpond-e2e-images-'));
  execFileSync(
    programPath('host-runner'),
    ['image', 'build-tiny', '--state-dir', join(folder, 'state'), '--runtime-dir', join(folder, 'run')],
    { stdio: ['ignore', 'ignore', 'inherit'], timeout: 300_000 },
  );
  process.env[IMAGES_VARIABLE] = join(folder, 'state', 'images');
  return () => rmSync(folder, { recursive: true, force: true });
}
