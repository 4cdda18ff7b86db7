import type {
  ActivityEntry,
  ActivityKind,
  AddMachineOutcome,
  ApiError,
  Batch,
  BatchOutcome,
  Command,
  Instance,
  Opening,
  InstanceRequest,
  PlacedInstance,
  PlanStanding,
  PoolMachine,
  PoolPicture,
  Preview,
  Refusal,
  Settings,
  Template,
  Verdict,
  WindowEvent,
} from '../../api/generated/contract';
import {
  CommandRefused,
  type CommandArgs,
  type CommandName,
  type ConsoleListener,
  type EventListener,
  type Platform,
} from '../platform';
import { batchPreviewOf } from './batch';
import { planOf, recoveryOf, reserveOf } from './plans';
import { idOf, instanceOf, machineOf, TEMPLATES, withPromises } from './scenes';

type Results = { [Name in CommandName]: unknown };

/** How a scripted pool behaves. */
export interface Script {
  readonly picture: PoolPicture;
  readonly templates?: readonly Template[];
  readonly settings?: Settings;
  /** How long each step of a boot takes; 0 leaves an instance where it was created. */
  readonly stepMs?: number;
  /** Whether a plan still holds; it does where this is absent. */
  readonly standing?: () => PlanStanding;
  /** The answers of `machine_add`, in order; an error refuses. */
  readonly adding?: readonly (AddMachineOutcome | ApiError)[];
}

/** A pool that lives in memory, for tests and pictures. It keeps a record of what it was asked. */
export class ScriptedPlatform implements Platform {
  readonly brought: Opening | undefined = undefined;
  readonly asked: Command[] = [];
  isDrawn = false;
  private readonly listeners = new Set<EventListener>();
  private readonly activity: ActivityEntry[] = [];
  private picture: PoolPicture;
  private settings: Settings;
  private readonly adding: (AddMachineOutcome | ApiError)[];

  constructor(private readonly script: Script) {
    this.picture = script.picture;
    this.settings = script.settings ?? { theme: 'light', language: 'en', placement: 'spread' };
    this.adding = [...(script.adding ?? [])];
    for (const [index, { instance }] of script.picture.instances.slice(0, 14).entries()) {
      this.note(instance.state === 'failed' ? 'instance_failed' : 'instance_ready', instance, index * 240_000);
    }
  }

  async call<Name extends CommandName>(name: Name, args: CommandArgs<Name>): Promise<never> {
    // The pair is a command by construction; TypeScript cannot see that a name and its own arguments belong together.
    const command = { name, args } as unknown as Command;
    this.asked.push(command);
    await Promise.resolve();
    return this.answer(command) as never;
  }

  subscribe(listener: EventListener): () => void {
    this.listeners.add(listener);
    queueMicrotask(() => listener.onEvent({ kind: 'read_again' }));
    return () => this.listeners.delete(listener);
  }

  openConsole(_machine: string, _instance: string, listener: ConsoleListener) {
    const say = (text: string) => listener.onData(new TextEncoder().encode(text));
    queueMicrotask(() => say(BOOT_LOG));
    return {
      write: (text: string) => say(text === '\r' ? '\r\n~ # ' : text),
      close: () => undefined,
    };
  }

  drawn(): void {
    this.isDrawn = true;
  }

  /** Pushes something to the window. */
  push(event: WindowEvent): void {
    for (const listener of this.listeners) listener.onEvent(event);
  }

  /** Breaks the stream of events. */
  lose(): void {
    for (const listener of this.listeners) listener.onLost();
  }

  /** Changes the pool, and says so. */
  change(change: { machines?: PoolMachine[]; instances?: PlacedInstance[]; removed?: string[] }): void {
    const { machines = [], instances = [], removed = [] } = change;
    const from = this.picture.version;
    const leaving = this.picture.instances.filter(({ instance }) => removed.includes(instance.id));
    const touched = new Set([...machines, ...instances, ...leaving].map((one) => ('machine' in one ? one.machine : one.id)));
    const all =
      instances.length + removed.length === 0
        ? this.picture.instances
        : [...this.picture.instances.filter((one) => !isAmong(one, instances) && !leaving.includes(one)), ...instances];
    // Only what is touched is counted anew: the drag benchmark changes a large pool a hundred times a second.
    const next = this.picture.machines.map((machine) => {
      const given = machines.find((one) => one.id === machine.id);
      return given ?? (touched.has(machine.id) ? withPromises(machine, all) : machine);
    });
    const joined = machines.filter((machine) => !next.some((one) => one.id === machine.id));
    this.picture = { version: from + 1, machines: [...next, ...joined], instances: all };
    this.push({
      kind: 'pool',
      change: {
        from,
        to: from + 1,
        machines: this.picture.machines.filter((machine) => touched.has(machine.id)),
        removed_machines: [],
        instances,
        removed_instances: removed,
      },
    });
  }

  private answer(command: Command): Results[CommandName] {
    switch (command.name) {
      case 'window_open':
        return { settings: this.settings, templates: this.templates(), picture: this.picture };
      case 'pool_get':
        return this.picture;
      case 'templates_list':
        return this.templates();
      case 'placement_preview':
        return previewOf(command.args.request, this.picture);
      case 'placement_reserve':
        return reserveOf(command.args.request, this.picture);
      case 'instance_create':
        return this.create(command.args);
      case 'batch_preview':
        return batchPreviewOf(command.args.batch, this.picture);
      case 'batch_create':
        return this.createSeveral(command.args.batch);
      case 'instance_act':
        return this.act(command.args);
      case 'machine_add':
        return this.add();
      case 'activity_list':
        return { entries: [...this.activity].reverse().slice(0, command.args.limit), more: false };
      case 'settings_set':
        this.settings = command.args.settings;
        return this.settings;
      case 'machine_chart':
        return chartOf(command.args.dark);
      case 'machine_drain_set':
        return this.drain(command.args);
      case 'plan_make':
        return planOf(command.args.ask, this.picture);
      case 'plan_check':
        return this.script.standing?.() ?? { standing: 'holds' };
      case 'recovery_check':
        return recoveryOf(this.picture);
      case 'inventory_save':
        return { path: '/home/admin/Downloads/millpond-inventory.json' };
      case 'machine_remove':
      case 'machine_reconnect':
        return null;
    }
  }

  private templates(): readonly Template[] {
    return this.script.templates ?? TEMPLATES;
  }

  private create({ id, machine, request }: CommandArgs<'instance_create'>): Instance {
    const target = machine ?? previewOf(request, this.picture).best ?? '';
    const taken = new Set(this.picture.instances.map((one) => one.instance.spec.name));
    let number = 1;
    while (taken.has(`${request.name_prefix}-${String(number)}`)) number += 1;
    const sketch = { number: 0, machine: 0, mib: request.memory_mib, vcpus: request.vcpus };
    const name = request.name ?? `${request.name_prefix}-${String(number)}`;
    const made = (state: Instance['state'], progress: Instance['progress'] = null): Instance => ({
      ...instanceOf({ ...sketch, name, state, progress }),
      id,
      created_at: new Date().toISOString(),
    });
    const put = (instance: Instance) => this.change({ instances: [{ machine: target, instance }] });
    const first = made('creating');
    put(first);
    const step = this.script.stepMs ?? 0;
    if (step > 0) {
      setTimeout(() => put(made('starting')), step);
      setTimeout(() => put(made('running', 'booting')), 2 * step);
      setTimeout(() => put(made('running', 'ready')), 4 * step);
    }
    return first;
  }

  private drain({ machine, draining }: CommandArgs<'machine_drain_set'>): PoolMachine {
    const held = this.picture.machines.find(({ id }) => id === machine);
    if (!held) throw this.refuse({ code: 'machine_not_found', message: 'no such machine', details: { id: machine } });
    const set = { ...held, draining };
    this.change({ machines: [set] });
    return set;
  }

  private createSeveral(batch: Batch): BatchOutcome {
    const preview = batchPreviewOf(batch, this.picture);
    if (preview.outcome === 'refused') return preview;
    const instances = batch.ids.map((id, index) =>
      this.create({ id, machine: preview.machines[index] ?? null, request: batch.request }),
    );
    return { outcome: 'created', instances };
  }

  private act({ machine, instance: id, action }: CommandArgs<'instance_act'>): Instance | null {
    const held = this.picture.instances.find((one) => one.instance.id === id);
    if (!held) throw this.refuse({ code: 'instance_not_found', message: 'no such instance', details: { id } });
    if (action === 'delete') {
      this.change({ removed: [id] });
      return null;
    }
    const state = action === 'start' ? 'starting' : action === 'restart' ? 'running' : 'stopping';
    const instance = { ...held.instance, state, progress: null, usage: null } satisfies Instance;
    this.change({ instances: [{ machine, instance }] });
    return instance;
  }

  private add(): AddMachineOutcome {
    const next = this.adding.shift();
    if (next && 'code' in next) throw this.refuse(next);
    if (next && next.outcome !== 'added') return next;
    const machine = next?.machine ?? machineOf({ number: 77, name: 'newcomer', gib: 15.5, threads: 4 });
    this.change({ machines: [machine] });
    return { outcome: 'added', machine };
  }

  private refuse(error: ApiError): CommandRefused {
    return new CommandRefused({ error, machine: null, request_id: idOf(1) });
  }

  private note(kind: ActivityKind, instance: Instance, agoMs: number): void {
    this.activity.unshift({
      id: 1000 - this.activity.length,
      at: new Date(Date.now() - agoMs - 30_000).toISOString(),
      kind,
      machine: 'workbench',
      instance: instance.spec.name,
      instance_id: instance.id,
      took_ms: kind === 'instance_ready' ? 6240 : null,
      error: null,
      request_id: idOf(this.activity.length),
    });
    this.activity.sort((a, b) => a.id - b.id);
  }
}

function isAmong(one: PlacedInstance, others: readonly PlacedInstance[]): boolean {
  return others.some((other) => other.instance.id === one.instance.id);
}

/** The placement rules of `host-runner/pool`, as far as a picture needs them. */
export function previewOf(request: InstanceRequest, picture: PoolPicture): Preview {
  const verdicts = picture.machines.map((machine): Verdict => {
    const refusals = refusalsOf(request, machine);
    const offered = machine.host?.memory_offered_mib ?? 0;
    if (refusals.length > 0) return { machine: machine.id, refusals, score: 0, terms: [] };
    const left = ((machine.usage?.memory_free_mib ?? 0) - request.memory_mib) / Math.max(1, offered);
    const idle = 1 - (machine.usage?.cpu_percent ?? 0) / 100;
    return {
      machine: machine.id,
      refusals,
      score: 0.6 * left + 0.4 * idle,
      terms: [
        { name: 'memory_left', value: left, weight: 0.6 },
        { name: 'cpu_left', value: idle, weight: 0.4 },
      ],
    };
  });
  const fitting = verdicts.filter((verdict) => verdict.refusals.length === 0);
  const best = fitting.reduce<Verdict | undefined>(
    (found, verdict) => (found && found.score >= verdict.score ? found : verdict),
    undefined,
  );
  return { verdicts, best: best?.machine ?? null };
}

function refusalsOf(request: InstanceRequest, machine: PoolMachine): Refusal[] {
  if (machine.link.state !== 'connected') return [{ reason: 'unreachable' }];
  if (machine.draining) return [{ reason: 'draining' }];
  const refusals: Refusal[] = [];
  const threads = machine.host?.threads ?? 0;
  const free = machine.usage?.memory_free_mib ?? 0;
  if (request.vcpus > threads) refusals.push({ reason: 'too_many_vcpus', needed: request.vcpus, threads });
  if (request.memory_mib > free) {
    refusals.push({ reason: 'insufficient_memory', needed_mib: request.memory_mib, free_mib: free });
  }
  return refusals;
}

function chartOf(dark: boolean): string {
  const ink = dark ? '#5bb6bd' : '#4b9ca3';
  const points = Array.from({ length: 60 }, (_, x) => `${String(x * 5)},${String(60 - 22 * Math.abs(Math.sin(x / 7)) - (x % 5))}`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 295 80"><polyline fill="none" stroke="${ink}" stroke-width="2" points="${points.join(' ')}"/></svg>`;
}

const BOOT_LOG = [
  '[    0.000000] Linux version 6.1.0-28-cloud-amd64 (debian-kernel@lists.debian.org)',
  '[    0.004000] Command line: console=ttyS0 quiet',
  '[    1.871220] virtio_net virtio1 eth0: renamed',
  '[    2.440193] Run /init as init process',
  'udhcpc: lease of 10.0.2.15 obtained from 10.0.2.2, lease time 86400',
  'httpd: serving http://10.0.2.15/',
  '',
  'Tiny Linux \u001b[36mtiny-1\u001b[0m ttyS0',
  '',
  'tiny-1 login: root',
  '~ # ',
].join('\r\n');
