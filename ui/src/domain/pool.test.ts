import { describe, expect, it } from 'vitest';

import type { HostUsage, PoolChange, PoolMachine } from '../api/generated/contract';
import { idOf, instanceOf, machineOf, SCENES } from '../platform/testing/scenes';
import { applyChange, findInstance, poolOf, roomOf, totalsOf, type Pool } from './pool';

function seven(): Pool {
  const scene = SCENES['seven'];
  if (!scene) throw new Error('the scene is gone');
  return poolOf(scene());
}

function change(from: number, more: Partial<PoolChange>): PoolChange {
  return {
    from,
    to: from + 1,
    machines: [],
    removed_machines: [],
    instances: [],
    removed_instances: [],
    ...more,
  };
}

function applied(pool: Pool, more: Partial<PoolChange>): Pool {
  const result = applyChange(pool, change(pool.version, more));
  if (result.kind !== 'applied') throw new Error(`the change was not applied: ${result.kind}`);
  return result.pool;
}

describe('a change', () => {
  it('that is already known changes nothing', () =>
    expect(applyChange(seven(), change(0, {}))).toEqual({ kind: 'known' }));

  it('after one that was missed asks for the whole picture', () =>
    expect(applyChange(seven(), change(5, {}))).toEqual({ kind: 'gap' }));

  it('of one machine leaves everything else identical, so that nothing else is drawn again', () => {
    const before = seven();
    const after = applied(before, { machines: [machineOf({ number: 3, name: 'boreas', gib: 31, cpu: 77 })] });
    expect(after.machines.get(idOf(3))?.usage?.cpu_percent).toBe(77);
    expect(after.machines.get(idOf(2))).toBe(before.machines.get(idOf(2)));
    expect(after.instances).toBe(before.instances);
    expect(after.order).toBe(before.order);
  });

  it('of an instance replaces it in its place', () => {
    const before = seven();
    const stopped = instanceOf({ number: 4, machine: 2, name: 'dns', mib: 2048, state: 'stopped' });
    const after = applied(before, { instances: [{ machine: idOf(2), instance: stopped }] });
    const names = (pool: Pool) => pool.instances.get(idOf(2))?.map((instance) => instance.spec.name);
    expect(names(after)).toEqual(names(before));
    expect(findInstance(after, stopped.id)?.instance.state).toBe('stopped');
    expect(after.instances.get(idOf(3))).toBe(before.instances.get(idOf(3)));
  });

  it('can bring an instance, move it and take it away', () => {
    const instance = instanceOf({ number: 99, machine: 3, name: 'new', mib: 128 });
    const brought = applied(seven(), { instances: [{ machine: idOf(3), instance }] });
    expect(findInstance(brought, instance.id)?.machine.name).toBe('boreas');
    const moved = applied(brought, { instances: [{ machine: idOf(2), instance }] });
    expect(findInstance(moved, instance.id)?.machine.name).toBe('atlas');
    expect(moved.instances.get(idOf(3))?.some((one) => one.id === instance.id)).toBe(false);
    const gone = applied(moved, { removed_instances: [instance.id] });
    expect(findInstance(gone, instance.id)).toBeUndefined();
  });

  it('can bring a machine and take it away with its instances', () => {
    const joined = applied(seven(), { machines: [machineOf({ number: 50, name: 'new', gib: 8 })] });
    expect(joined.order.at(-1)).toBe(idOf(50));
    const left = applied(joined, { removed_machines: [idOf(2)] });
    expect(left.order).not.toContain(idOf(2));
    expect(left.instances.has(idOf(2))).toBe(false);
    expect(findInstance(left, instanceOf({ number: 2, machine: 2, name: 'files', mib: 1 }).id)).toBeUndefined();
  });
});

it('the gauges add up what has been seen, CPU weighted by threads', () => {
  const pool = poolOf({
    version: 1,
    machines: [
      machineOf({ number: 1, name: 'a', gib: 8, threads: 2, cpu: 100 }),
      machineOf({ number: 2, name: 'b', gib: 24, threads: 6, cpu: 0 }),
      machineOf({ number: 3, name: 'c', gib: 24, unseen: true }),
    ],
    instances: [],
  });
  expect(totalsOf(pool)).toMatchObject({ cpuShare: 0.25, threads: 8, memoryOffered: 32 * 1024, running: 0 });
});

describe('the room of a pool', () => {
  it('is the same however busy its machines are', () => {
    const before = seven();
    const machine = before.machines.get(idOf(3));
    if (!machine?.usage) throw new Error('the scene has no usage of it');
    const busy = { ...machine, usage: { ...machine.usage, cpu_percent: 99 } };
    expect(roomOf(applied(before, { machines: [busy] }))).toBe(roomOf(before));
  });

  it.each([
    ['memory', (pool: Pool) => withUsage(pool, { memory_free_mib: 1 })],
    ['disk', (pool: Pool) => withUsage(pool, { disk_free_mib: 1 })],
    ['a drain', (pool: Pool) => withMachine(pool, { draining: true })],
    ['a lost machine', (pool: Pool) => applied(pool, { removed_machines: [idOf(3)] })],
  ])('is another after a change of %s', (_what, changed) => {
    expect(roomOf(changed(seven()))).not.toBe(roomOf(seven()));
  });
});

function withMachine(pool: Pool, more: Partial<PoolMachine>): Pool {
  const machine = pool.machines.get(idOf(3));
  if (!machine) throw new Error('the scene has no such machine');
  return applied(pool, { machines: [{ ...machine, ...more }] });
}

function withUsage(pool: Pool, more: Partial<HostUsage>): Pool {
  const usage = pool.machines.get(idOf(3))?.usage;
  if (!usage) throw new Error('the scene has no usage of it');
  return withMachine(pool, { usage: { ...usage, ...more } });
}
