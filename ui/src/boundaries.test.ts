import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

/** Who may import whom: the window's architecture, read from its imports. */
const ROOT = dirname(fileURLToPath(import.meta.url));

const files = readdirSync(ROOT, { recursive: true, encoding: 'utf8' })
  .filter((file) => /\.tsx?$/.test(file))
  .map((file) => file.split(sep).join('/'));

function importsOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => {
    const target = match[1] ?? '';
    return target.startsWith('.') ? normalize(join(dirname(file), target)).split(sep).join('/') : target;
  });
}

function isTest(file: string): boolean {
  return /\.test\.tsx?$/.test(file) || file.startsWith('testing/') || file.startsWith('platform/testing/');
}

function offenders(within: (file: string) => boolean, forbidden: (target: string, file: string) => boolean): string[] {
  return files
    .filter((file) => within(file) && !isTest(file))
    .flatMap((file) =>
      importsOf(file)
        .filter((target) => forbidden(target, file))
        .map((target) => `${file} imports ${target}`),
    );
}

describe('the window’s parts', () => {
  it('there are some to look at', () => expect(files.length).toBeGreaterThan(60));

  it('only the platform talks to Tauri', () =>
    expect(offenders((file) => !file.startsWith('platform/'), (target) => target.startsWith('@tauri-apps'))).toEqual([]));

  it('features never import each other', () =>
    expect(
      offenders(
        (file) => file.startsWith('features/'),
        (target, file) =>
          target.startsWith('features/') && target.split('/')[1] !== file.split('/')[1],
      ),
    ).toEqual([]));

  it('primitives know nothing of the domain', () =>
    expect(
      offenders(
        (file) => file.startsWith('primitives/'),
        (target) => /^(api|domain|session|platform|features|app|i18n)\//.test(target),
      ),
    ).toEqual([]));

  it('the domain is pure: neither components, nor stores, nor a platform', () =>
    expect(
      offenders(
        (file) => file.startsWith('domain/'),
        (target) => /^(session|platform|features|app|primitives)\b|^react|^zustand/.test(target),
      ),
    ).toEqual([]));

  it('the scripted pool is never in the product', () =>
    expect(offenders(() => true, (target) => target.includes('testing/'))).toEqual([]));

  it('only the app puts features together', () =>
    expect(
      offenders(
        (file) => !file.startsWith('app/') && !file.startsWith('features/'),
        (target) => target.startsWith('features/'),
      ),
    ).toEqual([]));
});
