import type {
  Capability,
  HostFacts,
  HostUsage,
  Image,
  Instance,
  Link,
  MachineAddress,
  PlacedInstance,
  PoolMachine,
  PoolPicture,
  Template,
} from '../../api/generated/contract';

/** Pools for tests and for pictures. Everything here is made up, and none of it is in the product's bundle. */

/** A number as an id that sorts like one made at that time. */
export function idOf(number: number): string {
  return `01980000-0000-7000-8000-${number.toString(16).padStart(12, '0')}`;
}

export const TINY: Template = {
  id: 'tiny-linux',
  image: 'tiny-linux',
  name_prefix: 'tiny',
  vcpus: 1,
  memory_mib: 128,
  disk_mib: 0,
  ports: [{ guest: 80, host: null }],
};

export const TEMPLATES: readonly Template[] = [
  TINY,
  { ...TINY, id: 'tiny-linux-large', name_prefix: 'roomy', vcpus: 2, memory_mib: 1024 },
  { ...TINY, id: 'big-server', name_prefix: 'big', vcpus: 4, memory_mib: 8192, disk_mib: 40_960 },
];

const IMAGE: Image = {
  name: 'tiny-linux',
  title: 'Tiny Linux',
  summary: 'A kernel and a shell, in memory alone',
  digest: 'a'.repeat(64),
  size_mib: 28,
  memory_min_mib: 64,
  disk_min_mib: 0,
  has_kernel: true,
  state: 'ready',
  problem: null,
  created_at: '2026-01-31T08:00:00Z',
};

const CAPABILITIES: Capability[] = [
  {
    name: 'hardware_virtualization',
    state: 'limited',
    finding: 'The CPU has neither vmx nor svm; guests are emulated.',
    remedy: 'Turn on virtualization in the firmware, or use a machine that has it.',
  },
  { name: 'qemu', state: 'ok', finding: 'qemu-system-x86_64 7.2.17', remedy: null },
  { name: 'tiny_linux', state: 'ok', finding: 'The image is there and whole.', remedy: null },
];

/** What a scene says about a machine; the rest follows. */
export interface MachineSketch {
  readonly number: number;
  readonly name: string;
  readonly gib: number;
  readonly threads?: number;
  readonly cpu?: number;
  readonly address?: MachineAddress;
  readonly link?: Link;
  readonly unseen?: boolean;
  readonly draining?: boolean;
}

function factsOf(sketch: MachineSketch): HostFacts {
  const offered = Math.round(sketch.gib * 1024);
  return {
    id: idOf(900_000 + sketch.number),
    hostname: sketch.name,
    os: 'Debian GNU/Linux 12 (bookworm)',
    kernel: '6.1.0-28-amd64',
    arch: 'x86_64',
    cpu_model: 'AMD EPYC 7B13',
    threads: sketch.threads ?? 8,
    memory_total_mib: offered + 1228,
    memory_offered_mib: offered,
    instance_overhead_mib: 0,
    hardware_virtualization: { available: false, reason: 'The CPU has neither vmx nor svm.' },
    engines: ['qemu'],
    network: 'user',
    privileged: false,
    capabilities: CAPABILITIES,
    agent_version: '0.1.0',
    api_version: '1.0',
  };
}

/** A machine from its sketch, with nothing promised yet. */
export function machineOf(sketch: MachineSketch): PoolMachine {
  const host = factsOf(sketch);
  const usage: HostUsage = {
    sampled_at: '2026-01-31T14:07:00Z',
    cpu_percent: sketch.cpu ?? 12,
    memory_used_mib: 2100,
    memory_promised_mib: 0,
    memory_free_mib: host.memory_offered_mib,
    disk_total_mib: 512_000,
    disk_promised_mib: 61_440,
    disk_free_mib: 348_160,
    uptime_s: 3_542_400,
  };
  return {
    id: idOf(sketch.number),
    name: sketch.name,
    address: sketch.address ?? { kind: 'ssh', host: sketch.name, user: 'admin', port: null, identity_file: null },
    link: sketch.link ?? { state: 'connected', since: '2026-01-31T08:00:00Z' },
    host: sketch.unseen ? null : host,
    usage: sketch.unseen ? null : usage,
    images: [IMAGE],
    draining: sketch.draining ?? false,
  };
}

/** What a scene says about an instance; the rest follows. */
export interface InstanceSketch {
  readonly number: number;
  readonly machine: number;
  readonly name: string;
  readonly mib: number;
  readonly vcpus?: number;
  readonly cpu?: number;
  readonly state?: Instance['state'];
  readonly progress?: Instance['progress'];
  readonly copiedPercent?: number;
  readonly guestStatus?: string;
}

/** An instance from its sketch. */
export function instanceOf(sketch: InstanceSketch): Instance {
  const state = sketch.state ?? 'running';
  const running = state === 'running';
  return {
    id: idOf(100_000 + sketch.number),
    generation: 1,
    spec: {
      name: sketch.name,
      image: 'tiny-linux',
      vcpus: sketch.vcpus ?? 1,
      memory_mib: sketch.mib,
      disk_mib: 0,
      engine: 'auto',
      ports: [{ guest: 80, host: null }],
    },
    wanted_running: running || state === 'starting',
    state,
    progress: running ? (sketch.progress ?? 'ready') : null,
    failure:
      state === 'failed'
        ? {
            code: 'engine_failed',
            message: 'QEMU ended with signal 9 while the guest ran.',
            log: 'qemu-system-x86_64: terminating on signal 9 from pid 4711\nqemu-system-x86_64: cannot set up guest memory "ram": Cannot allocate memory',
            at: '2026-01-31T14:01:12Z',
          }
        : null,
    engine: {
      kind: 'qemu',
      accelerated: false,
      reason: 'QEMU with TCG: the CPU has neither vmx nor svm, so the guest is emulated.',
    },
    ports: running ? [{ guest: 80, host: 40_080 + sketch.number }] : [],
    copied_percent: sketch.copiedPercent ?? null,
    usage: running ? { cpu_percent: sketch.cpu ?? 8, memory_mib: Math.round(sketch.mib * 0.62) } : null,
    created_at: '2026-01-31T13:40:00Z',
    started_at: running ? new Date(Date.now() - 4000).toISOString() : null,
    guest_status: running ? (sketch.guestStatus ?? null) : null,
    boot_ms: running && (sketch.progress ?? 'ready') === 'ready' ? 6240 : null,
  };
}

/** A picture: the instances' promises are taken from their machines' offers. */
export function pictureOf(machines: readonly MachineSketch[], instances: readonly InstanceSketch[]): PoolPicture {
  const placed: PlacedInstance[] = instances.map((sketch) => ({
    machine: idOf(sketch.machine),
    instance: instanceOf(sketch),
  }));
  return { version: 1, machines: machines.map((sketch) => withPromises(machineOf(sketch), placed)), instances: placed };
}

/** A machine whose usage counts what its instances were promised. */
export function withPromises(machine: PoolMachine, placed: readonly PlacedInstance[]): PoolMachine {
  if (!machine.usage || !machine.host) return machine;
  const promised = placed
    .filter((one) => one.machine === machine.id && ['running', 'starting', 'stopping', 'paused'].includes(one.instance.state))
    .reduce((sum, one) => sum + one.instance.spec.memory_mib, 0);
  return {
    ...machine,
    usage: {
      ...machine.usage,
      memory_promised_mib: promised,
      memory_free_mib: Math.max(0, machine.host.memory_offered_mib - promised),
    },
  };
}

const HERE: MachineSketch = {
  number: 1,
  name: 'workbench',
  gib: 22.8,
  threads: 2,
  cpu: 9,
  address: { kind: 'local' },
};

const GIB = 1024;

/** The scenes, by name. */
export const SCENES: Readonly<Record<string, () => PoolPicture>> = {
  empty: () => pictureOf([], []),
  one: () => pictureOf([HERE], []),
  one_running: () =>
    pictureOf(
      [HERE],
      [
        { number: 1, machine: 1, name: 'tiny-1', mib: 128 },
        { number: 2, machine: 1, name: 'tiny-2', mib: 128, progress: 'booting', cpu: 96 },
        { number: 3, machine: 1, name: 'roomy-1', mib: 1024, cpu: 64 },
        { number: 4, machine: 1, name: 'build-1', mib: 2048, state: 'stopped' },
        { number: 5, machine: 1, name: 'tiny-3', mib: 128, state: 'failed' },
      ],
    ),
  two: () => pictureOf([HERE, { number: 2, name: 'atlas', gib: 62, threads: 16, cpu: 41 }], []),
  /** What is on atlas finds no room on the other. */
  strained: () =>
    pictureOf(
      [HERE, { number: 2, name: 'atlas', gib: 62, threads: 16, cpu: 41 }],
      [{ number: 1, machine: 2, name: 'files', mib: 48 * GIB, vcpus: 4 }],
    ),
  seven: sevenMachines,
  large: () => crowd(200, 20),
};

function sevenMachines(): PoolPicture {
  const away: Link = {
    state: 'unreachable',
    since: '2026-01-31T14:02:00Z',
    error: {
      code: 'unreachable',
      message: 'no route to host',
      details: { address: 'dione:22' },
    },
    retry_at: new Date(Date.now() + 9_000).toISOString(),
  };
  const changed: Link = {
    state: 'refused',
    error: {
      code: 'host_key_changed',
      message: 'the key of eos has changed',
      details: {
        address: 'eos:22',
        key_type: 'ssh-ed25519',
        fingerprint: 'SHA256:9q2JtQh0oZr7n3sS1m0aXyWq0n7q0k1v8uYh2c4d6e8',
        known_hosts_line: 14,
      },
    },
  };
  return pictureOf(
    [
      { ...HERE, cpu: 22 },
      { number: 2, name: 'atlas', gib: 62, threads: 16, cpu: 41 },
      { number: 3, name: 'boreas', gib: 31, cpu: 12 },
      { number: 4, name: 'castor', gib: 15, threads: 4, cpu: 88 },
      { number: 5, name: 'dione', gib: 15, threads: 4, cpu: 5, link: away },
      { number: 6, name: 'eos', gib: 7.5, threads: 4, cpu: 0, link: changed },
      { number: 7, name: 'fornax', gib: 3.6, threads: 2, cpu: 18 },
    ],
    [
      { number: 1, machine: 1, name: 'tiny-1', mib: 128 },
      { number: 2, machine: 2, name: 'files', mib: 16 * GIB, vcpus: 4 },
      { number: 3, machine: 2, name: 'build-1', mib: 8 * GIB, vcpus: 4, cpu: 260 },
      { number: 4, machine: 2, name: 'dns', mib: 2 * GIB },
      { number: 5, machine: 2, name: 'mail', mib: 6 * GIB, vcpus: 2 },
      { number: 6, machine: 2, name: 'wiki', mib: 4 * GIB, cpu: 62 },
      { number: 7, machine: 3, name: 'db-1', mib: 6 * GIB, vcpus: 2, guestStatus: 'cloud-init: done' },
      { number: 8, machine: 3, name: 'ci', mib: 4 * GIB, progress: 'booting', cpu: 99 },
      { number: 9, machine: 4, name: 'render', mib: 12 * GIB, vcpus: 4, cpu: 390 },
      { number: 10, machine: 4, name: 'cam', mib: GIB },
      { number: 11, machine: 5, name: 'web-1', mib: 6 * GIB },
      { number: 12, machine: 5, name: 'git', mib: 4 * GIB },
      { number: 13, machine: 3, name: 'old-1', mib: 3 * GIB, state: 'stopped' },
      { number: 14, machine: 7, name: 'probe', mib: 512, state: 'failed' },
    ],
  );
}

/** Many machines with many instances each, for measuring. The same every time. */
export function crowd(machines: number, each: number): PoolPicture {
  const sizes = [16, 32, 64, 128, 256];
  const sketches = Array.from({ length: machines }, (_, index) => ({
    number: index + 1,
    name: `node-${String(index + 1).padStart(3, '0')}`,
    gib: sizes[index % sizes.length] ?? 16,
    threads: 32,
    cpu: (index * 37) % 100,
  }));
  const instances = sketches.flatMap(({ number, gib }) =>
    Array.from({ length: each }, (_, index) => ({
      number: number * each + index,
      machine: number,
      name: `vm-${String(number)}-${String(index + 1)}`,
      mib: Math.round((gib * GIB * 0.7) / each) * (index % 3 === 0 ? 2 : 1) * 0.75,
      cpu: (number * 13 + index * 29) % 100,
      state: index % 11 === 10 ? ('stopped' as const) : ('running' as const),
    })),
  );
  return pictureOf(sketches, instances);
}
