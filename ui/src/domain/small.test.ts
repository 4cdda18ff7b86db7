import { describe, expect, it } from 'vitest';

import type { ActivityEntry } from '../api/generated/contract';
import { instanceOf } from '../platform/testing/scenes';
import { journeyOf, loadOf, phaseOf } from './lifecycle';
import { calledNamer, isInstanceName, nameOfMachine, ownNameIn, targetOf } from './naming';
import { matching } from './search';
import { entryText, placeOnLine, weightOf } from './timeline';
import { uuidV7 } from './uuid';

describe('an instance', () => {
  const sketch = { number: 1, machine: 1, name: 'a', mib: 128 };
  it('boots until its prompt is up', () => {
    expect(phaseOf({ state: 'running', progress: null })).toBe('booting');
    expect(phaseOf({ state: 'running', progress: 'powered_on' })).toBe('booting');
    expect(phaseOf({ state: 'running', progress: 'ready' })).toBe('ready');
    expect(phaseOf({ state: 'stopped', progress: null })).toBe('stopped');
  });
  it('goes its way step by step', () => {
    expect(journeyOf(instanceOf({ ...sketch, state: 'creating' }))).toEqual(['now', 'ahead', 'ahead', 'ahead']);
    expect(journeyOf(instanceOf({ ...sketch, progress: 'booting' }))).toEqual(['done', 'done', 'now', 'ahead']);
    expect(journeyOf(instanceOf(sketch))).toEqual(['done', 'done', 'done', 'done']);
    expect(journeyOf(instanceOf({ ...sketch, state: 'failed' }))).toContain('failed');
    expect(journeyOf(instanceOf({ ...sketch, state: 'stopped' }))).toBeUndefined();
  });
  it('is calm, busy or hot by what its vCPUs could do', () => {
    expect(loadOf(49, 1)).toBe('calm');
    expect(loadOf(60, 1)).toBe('busy');
    expect(loadOf(60, 2)).toBe('calm');
    expect(loadOf(180, 2)).toBe('hot');
    expect(loadOf(10, 0)).toBe('calm');
  });
});

describe('names', () => {
  it('of instances are host name labels', () => {
    for (const good of ['a', 'web-1', '0', 'a'.repeat(63)]) expect(isInstanceName(good)).toBe(true);
    for (const bad of ['', '-a', 'a-', 'A', '../a', 'a b', 'a\n', 'ä', 'a'.repeat(64)]) {
      expect(isInstanceName(bad)).toBe(false);
    }
  });
  it('of this computer are the same in every pool', () => {
    expect(nameOfMachine({ name: 'vm', address: { kind: 'local' } }, 'This computer')).toBe('This computer');
  });
  it('of addresses are what one would type', () => {
    expect(targetOf({ kind: 'ssh', host: 'atlas', user: 'admin', port: 2222, identity_file: null })).toBe(
      'admin@atlas:2222',
    );
    expect(targetOf({ kind: 'ssh', host: 'atlas', user: null, port: null, identity_file: null })).toBe('atlas');
  });
});

describe('the activity list', () => {
  const entry: ActivityEntry = {
    id: 1,
    at: '2026-01-31T14:00:00Z',
    kind: 'instance_ready',
    machine: 'atlas',
    instance: 'tiny-1',
    instance_id: null,
    took_ms: 6240,
    error: null,
    request_id: null,
  };
  const own = ownNameIn(new Map([['1', { name: 'vm', address: { kind: 'local' } }]]));
  const names = {
    called: calledNamer(own, { t: (key: string) => key }),
    machine: 'a machine',
    instance: 'an instance',
    duration: (ms: number) => `${String(ms)} ms`,
  };
  it('says how long a boot took', () => {
    expect(entryText(entry, names)).toEqual({
      key: 'activity.instance_ready_in',
      values: { machine: 'atlas', instance: 'tiny-1', took: '6240 ms' },
    });
    expect(entryText({ ...entry, took_ms: null, instance: null }, names)).toEqual({
      key: 'activity.instance_ready',
      values: { machine: 'atlas', instance: 'an instance' },
    });
  });
  it('calls this computer what the map calls it', () => {
    const machineOf = (kind: ActivityEntry['kind'], machine: string | null) =>
      entryText({ ...entry, kind, machine }, names).values?.['machine'];
    expect(machineOf('machine_connected', 'vm')).toBe('machine.this_computer');
    expect(machineOf('instance_created', 'vm')).toBe('machine.this_computer.within');
    expect(machineOf('machine_connected', 'atlas')).toBe('atlas');
    expect(machineOf('machine_connected', null)).toBe('a machine');
  });
  it('lies along a line that ends now', () => {
    const now = Date.parse('2026-01-31T14:30:00Z');
    expect(placeOnLine(entry.at, now, 3_600_000)).toBe(0.5);
    expect(placeOnLine('2026-01-31T12:00:00Z', now, 3_600_000)).toBeUndefined();
    expect(placeOnLine('2026-01-31T15:00:00Z', now, 3_600_000)).toBe(1);
    expect(placeOnLine('not a time', now, 3_600_000)).toBeUndefined();
  });
  it('marks trouble', () => expect(weightOf('instance_failed')).toBe('trouble'));
});

describe('a search', () => {
  const items = ['Open tiny-1', 'Stop tiny-1', 'Console of tiny-1', 'Add a machine'];
  const find = (query: string) => matching(query, items, (item) => item);
  it('without a query finds everything', () => expect(find('  ')).toEqual(items));
  it('wants every word', () => expect(find('tiny stop')).toEqual(['Stop tiny-1']));
  it('puts beginnings of words first', () => expect(find('o')[0]).toBe('Open tiny-1'));
  it('finds nothing for nonsense', () => expect(find('xyz')).toEqual([]));
});

it('ids are UUIDv7, and sort by when they were made', () => {
  const earlier = uuidV7(1_700_000_000_000);
  const later = uuidV7(1_700_000_000_001);
  expect(earlier).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(earlier < later).toBe(true);
  expect(earlier.startsWith('018bcfe5-6800-7')).toBe(true);
});
