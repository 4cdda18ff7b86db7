import type { Instance, PoolChange, PoolMachine, PoolPicture } from '../api/generated/contract';

/** The pool as the window holds it: indexed, and shared in structure so that what did not change stays identical. */
export interface Pool {
  readonly version: number;
  /** In the order in which they joined. */
  readonly order: readonly string[];
  readonly machines: ReadonlyMap<string, PoolMachine>;
  /** Each machine's instances, oldest first. */
  readonly instances: ReadonlyMap<string, readonly Instance[]>;
  /** Which machine each instance is on. */
  readonly places: ReadonlyMap<string, string>;
}

/** No picture yet. */
export const EMPTY_POOL: Pool = {
  version: -1,
  order: [],
  machines: new Map(),
  instances: new Map(),
  places: new Map(),
};

/** A machine without instances always answers this one list. */
export const NO_INSTANCES: readonly Instance[] = [];

/** Indexes a whole picture. */
export function poolOf(picture: PoolPicture): Pool {
  const instances = new Map<string, Instance[]>();
  const places = new Map<string, string>();
  for (const { machine, instance } of picture.instances) {
    const held = instances.get(machine);
    if (held) held.push(instance);
    else instances.set(machine, [instance]);
    places.set(instance.id, machine);
  }
  return {
    version: picture.version,
    order: picture.machines.map((machine) => machine.id),
    machines: new Map(picture.machines.map((machine) => [machine.id, machine])),
    instances,
    places,
  };
}

/** How a change met the picture: applied, already in it, or after something that was missed. */
export type Applied =
  | { readonly kind: 'applied'; readonly pool: Pool }
  | { readonly kind: 'known' }
  | { readonly kind: 'gap' };

/** Applies a change. A gap means that the whole picture must be read again. */
export function applyChange(pool: Pool, change: PoolChange): Applied {
  if (change.to <= pool.version) return { kind: 'known' };
  if (change.from !== pool.version) return { kind: 'gap' };
  return {
    kind: 'applied',
    pool: { version: change.to, ...changedMachines(pool, change), ...changedInstances(pool, change) },
  };
}

function changedMachines(pool: Pool, change: PoolChange): Pick<Pool, 'order' | 'machines'> {
  if (change.machines.length === 0 && change.removed_machines.length === 0) {
    return { order: pool.order, machines: pool.machines };
  }
  const machines = new Map(pool.machines);
  for (const machine of change.machines) machines.set(machine.id, machine);
  for (const id of change.removed_machines) machines.delete(id);
  const same = machines.size === pool.order.length && pool.order.every((id) => machines.has(id));
  return { order: same ? pool.order : [...machines.keys()], machines };
}

function changedInstances(pool: Pool, change: PoolChange): Pick<Pool, 'instances' | 'places'> {
  if (
    change.instances.length === 0 &&
    change.removed_instances.length === 0 &&
    change.removed_machines.length === 0
  ) {
    return { instances: pool.instances, places: pool.places };
  }
  const instances = new Map(pool.instances);
  const places = new Map(pool.places);
  const take = (id: string) => {
    const machine = places.get(id);
    if (machine === undefined) return;
    places.delete(id);
    instances.set(machine, (instances.get(machine) ?? []).filter((instance) => instance.id !== id));
  };
  for (const id of change.removed_instances) take(id);
  for (const { machine, instance } of change.instances) {
    if (places.get(instance.id) !== machine) take(instance.id);
    instances.set(machine, withInstance(instances.get(machine) ?? [], instance));
    places.set(instance.id, machine);
  }
  for (const machine of change.removed_machines) {
    for (const instance of instances.get(machine) ?? []) places.delete(instance.id);
    instances.delete(machine);
  }
  return { instances, places };
}

function withInstance(list: readonly Instance[], instance: Instance): readonly Instance[] {
  const at = list.findIndex((one) => one.id === instance.id);
  return at < 0 ? [...list, instance] : list.map((one) => (one.id === instance.id ? instance : one));
}

/** An instance with the machine that it is on; undefined once it is gone. */
export function findInstance(
  pool: Pool,
  id: string,
): { readonly machine: PoolMachine; readonly instance: Instance } | undefined {
  const machine = pool.machines.get(pool.places.get(id) ?? '');
  const instance = machine && pool.instances.get(machine.id)?.find((one) => one.id === id);
  return machine && instance ? { machine, instance } : undefined;
}

/** Sums over the machines that have been seen, for the gauges. CPU is weighted by threads. */
export interface Totals {
  readonly cpuShare: number;
  readonly threads: number;
  readonly memoryPromised: number;
  readonly memoryOffered: number;
  readonly diskPromised: number;
  readonly diskOffered: number;
  readonly instances: number;
  readonly running: number;
}

/** Adds the pool up. */
export function totalsOf(pool: Pool): Totals {
  let busyThreads = 0;
  const sums = {
    threads: 0,
    memoryPromised: 0,
    memoryOffered: 0,
    diskPromised: 0,
    diskOffered: 0,
    instances: 0,
    running: 0,
  };
  for (const { host, usage } of pool.machines.values()) {
    if (host) {
      sums.threads += host.threads;
      sums.memoryOffered += host.memory_offered_mib;
    }
    if (usage) {
      busyThreads += ((host?.threads ?? 0) * usage.cpu_percent) / 100;
      sums.memoryPromised += usage.memory_promised_mib;
      sums.diskPromised += usage.disk_promised_mib;
      sums.diskOffered += usage.disk_promised_mib + usage.disk_free_mib;
    }
  }
  for (const list of pool.instances.values()) {
    sums.instances += list.length;
    for (const instance of list) if (instance.state === 'running') sums.running += 1;
  }
  return { ...sums, cpuShare: sums.threads > 0 ? busyThreads / sums.threads : 0 };
}

/**
 * What decides where an instance fits, but for how busy the machines are: two pools with the same room refuse the same. It is compared,
 * never read.
 */
export function roomOf(pool: Pool): string {
  return [...pool.machines.values()]
    .map(({ id, link, draining, usage }) =>
      [id, link.state, draining, usage?.memory_free_mib, usage?.disk_free_mib, heldOf(pool, id)].join(' '),
    )
    .join('\n');
}

/** What a machine holds, and in which state. It is compared, never read. */
export function heldOf(pool: Pool, machine: string): string {
  const held = pool.instances.get(machine) ?? NO_INSTANCES;
  return held.map((one) => `${one.id}${one.state}${String(one.generation)}`).join(' ');
}
