import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { beforeAll, describe, expect, it } from 'vitest';

import type { ActivityKind, InstanceAction, Refusal, RunState } from '../api/generated/contract';
import { ERROR_CODES, errorWords } from '../domain/errors';
import { resolveLanguage, startWords } from '.';
import { en } from './en';
import { zhCN } from './zh-CN';

const SOURCES = join(dirname(fileURLToPath(import.meta.url)), '..');

function placeholders(text: string): string[] {
  return [...text.matchAll(/\{\{(\w+)(?:, \w+)?\}\}/g)].map((match) => match[1] ?? '').sort();
}

describe('the catalogues', () => {
  it('have the same sentences', () => expect(Object.keys(zhCN).sort()).toEqual(Object.keys(en).sort()));

  it.each(['en', 'zh-CN'])('say each sentence in one area: %s', (language) => {
    const folder = join(SOURCES, 'i18n', language);
    const keys = readdirSync(folder).flatMap((file) =>
      [...readFileSync(join(folder, file), 'utf8').matchAll(/^ {2}'([^']+)':/gm)].map((match) => match[1]),
    );
    expect(keys.sort()).toEqual(Object.keys(en).sort());
  });

  it('fill the same facts into each sentence', () => {
    for (const key of Object.keys(en) as (keyof typeof en)[]) {
      // A language may leave a count to its plural forms.
      const facts = (text: string) => placeholders(text).filter((name) => name !== 'count');
      expect(facts(zhCN[key]), key).toEqual(facts(en[key]));
    }
  });

  it('have no empty sentence', () => {
    for (const [key, text] of [...Object.entries(en), ...Object.entries(zhCN)]) expect(text.trim(), key).not.toBe('');
  });
});

describe('everything that the contract can say has words', () => {
  const has = (key: string) => expect(Object.keys(en), key).toContain(key);

  it('errors', () => ERROR_CODES.forEach((code) => has(`error.${code}`)));
  it('refusals', () => {
    const reasons: Record<Refusal['reason'], true> = {
      unreachable: true,
      no_engine: true,
      insufficient_memory: true,
      insufficient_disk: true,
      too_many_vcpus: true,
      image_missing: true,
      image_corrupt: true,
      draining: true,
      asleep: true,
      pinned_elsewhere: true,
      wrong_hardware: true,
      storage_full: true,
      storage_missing: true,
      too_many_vcpus_promised: true,
      too_busy: true,
      tag_missing: true,
      tag_forbidden: true,
      site_wrong: true,
      site_forbidden: true,
      not_together: true,
      not_apart: true,
      breaks_recovery: true,
    };
    Object.keys(reasons).forEach((reason) => has(`refusal.${reason}`));
  });
  it('activity', () => {
    const kinds: Record<ActivityKind, true> = {
      machine_added: true,
      machine_removed: true,
      machine_connected: true,
      machine_unreachable: true,
      instance_created: true,
      instance_started: true,
      instance_ready: true,
      instance_stopped: true,
      instance_failed: true,
      instance_deleted: true,
      command_refused: true,
    };
    Object.keys(kinds).forEach((kind) => has(`activity.${kind}`));
  });
  it('what a machine can do', () => {
    const names = [
      'qemu',
      'hardware_virtualization',
      'state_folder',
      'runtime_folder',
      'tiny_linux',
      'network',
      'ssh',
      'group',
      'guest_user',
    ];
    names.forEach((name) => has(`capability.${name}`));
  });
  it('states and actions', () => {
    const states: Record<Exclude<RunState, 'running'>, true> = {
      creating: true,
      stopped: true,
      starting: true,
      paused: true,
      stopping: true,
      failed: true,
      deleting: true,
    };
    for (const state of [...Object.keys(states), 'booting', 'ready']) {
      has(`phase.${state}`);
      has(`blocked.${state}`);
    }
    const actions: Record<InstanceAction, true> = {
      start: true,
      stop: true,
      force_stop: true,
      restart: true,
      delete: true,
    };
    Object.keys(actions).forEach((action) => has(`action.${action}.title`));
  });
});

describe('an error', () => {
  let find: (key: string, values?: Readonly<Record<string, string | number>>) => string | undefined;
  beforeAll(async () => {
    const i18n = await startWords('en');
    find = (key, values) => (i18n.exists(key) ? i18n.t(key, { ...values }) : undefined);
  });

  it('is told in the reader’s words with its numbers', () => {
    const error = {
      code: 'insufficient_memory',
      message: 'no',
      details: { needed_mib: 8192, free_mib: 2560 },
    } as const;
    expect(errorWords(error, { find })).toEqual({
      cause: 'It needs 8 GiB of memory; 2.5 GiB can still be promised.',
      remedy: 'Stop something there, ask for less, or choose another machine.',
    });
  });

  it('that lacks a fact is told in its host’s words', () => {
    const missing = { code: 'no_engine', message: 'passt is not installed', details: { remedy: 'install passt' } } as const;
    expect(errorWords(missing, { find })).toEqual({
      cause: en['error.no_engine'],
      remedy: 'passt is not installed; install passt',
    });
    expect(errorWords({ code: 'port_taken', message: 'port 80 is taken', details: {} }, { find }).cause).toBe(
      'port 80 is taken',
    );
  });
});

it('a Chinese sentence has room around a Latin name, and none around a Chinese one', async () => {
  const i18n = await startWords('zh-CN');
  const stranded = (machine: string) => i18n.t('recovery.stranding', { machine, count: 2 });
  expect(stranded('atlas')).toBe('如果 atlas 出故障，2 个实例无处安放');
  expect(stranded(i18n.t('machine.this_computer.within'))).toBe('如果本机出故障，2 个实例无处安放');
  expect(stranded('书房 电脑')).toContain('书房 电脑');
});

it('the language follows the choice, then the system, then English', () => {
  expect(resolveLanguage('zh-CN', ['en'])).toBe('zh-CN');
  expect(resolveLanguage(null, ['de-DE', 'zh-Hans-CN'])).toBe('zh-CN');
  expect(resolveLanguage(null, ['de-DE'])).toBe('en');
  expect(resolveLanguage('xx', [])).toBe('en');
});

describe('components', () => {
  const files = readdirSync(SOURCES, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.tsx'));

  it('there are some to look at', () => expect(files.length).toBeGreaterThan(20));

  it.each(files)('%s takes every word from the catalogues', (file) => {
    expect(rawTextIn(join(SOURCES, file))).toEqual([]);
  });
});

/** Attributes that people read or hear. */
const SPOKEN = new Set(['aria-label', 'aria-description', 'title', 'alt', 'label', 'line', 'hint', 'problem']);

function rawTextIn(path: string): string[] {
  const source = ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true, ts.ScriptKind.TSX);
  const found: string[] = [];
  const look = (node: ts.Node) => {
    if (ts.isJsxText(node) && /\p{Letter}/u.test(node.text)) found.push(node.text.trim());
    if (
      ts.isJsxAttribute(node) &&
      SPOKEN.has(node.name.getText()) &&
      node.initializer &&
      ts.isStringLiteral(node.initializer)
    ) {
      found.push(node.getText());
    }
    ts.forEachChild(node, look);
  };
  look(source);
  return found;
}
