// Generated from Rust: src-tauri/src/contract, host-runner/api and host-runner/pool. Never edit by hand.
// Write it anew: UPDATE_GENERATED=1 cargo test -p millpond --test desktop typescript

/**
 * One line of the activity list.
 */
export type ActivityEntry = { 
/**
 * Grows with every entry.
 */
id: number, 
/**
 * When it happened, by the desktop's clock.
 */
at: Timestamp, 
/**
 * What it is about.
 */
kind: ActivityKind, 
/**
 * The machine, as it was called then.
 */
machine: string | null, 
/**
 * The instance, as it was called then.
 */
instance: string | null, 
/**
 * The instance's id, while the window can still open it.
 */
instance_id: string | null, 
/**
 * Milliseconds that it took, where that is of interest (boot time).
 */
took_ms: number | null, 
/**
 * The error, for failures and refusals.
 */
error: ApiError | null, 
/**
 * The id that finds the same request in the agent's log.
 */
request_id: string | null, };

/**
 * What an entry of the activity list is about.
 */
export type ActivityKind = "machine_added" | "machine_removed" | "machine_connected" | "machine_unreachable" | "instance_created" | "instance_started" | "instance_ready" | "instance_stopped" | "instance_failed" | "instance_deleted" | "command_refused";

/**
 * A page of the activity list.
 */
export type ActivityPage = { 
/**
 * Newest first.
 */
entries: Array<ActivityEntry>, 
/**
 * True when older entries exist.
 */
more: boolean, };

/**
 * A machine to add, with the answers that earlier tries asked for.
 *
 * Secrets live in memory for the session only; nothing writes them anywhere.
 */
export type AddMachine = { 
/**
 * How to reach it.
 */
address: MachineAddress, 
/**
 * The name to show; absent takes the machine's own.
 */
name: string | null, 
/**
 * The fingerprint that the person has compared and accepted (`SHA256:…`).
 */
accepted_fingerprint: string | null, 
/**
 * The login password.
 */
password: string | null, 
/**
 * The key file's passphrase.
 */
passphrase: string | null, };

/**
 * How an attempt to add a machine ended.
 */
export type AddMachineOutcome = { "outcome": "added", 
/**
 * The machine.
 */
machine: PoolMachine, } | { "outcome": "confirm_host_key", 
/**
 * The key.
 */
question: HostKeyQuestion, } | { "outcome": "password_needed", 
/**
 * The user that would log in.
 */
user: string, 
/**
 * True when a password was given and refused.
 */
refused: boolean, } | { "outcome": "passphrase_needed", 
/**
 * The key file.
 */
path: string, 
/**
 * True when a passphrase was given and is wrong.
 */
refused: boolean, };

/**
 * A machine that is only thought.
 */
export type AddedMachine = { 
/**
 * Its identity in the plan.
 */
id: string, 
/**
 * What it is called there.
 */
name: string, };

/**
 * A wish about the neighbourhood.
 */
export type Affinity = { 
/**
 * Near or far.
 */
kind: AffinityKind, 
/**
 * From what.
 */
target: AffinityTarget, 
/**
 * True: a machine that breaks it is refused. False: it is worse.
 */
hard: boolean, };

/**
 * Near or far.
 */
export type AffinityKind = "together" | "apart";

/**
 * Near what, or far from what.
 */
export type AffinityTarget = { "of": "instance", 
/**
 * The instance.
 */
id: string, } | { "of": "group", 
/**
 * The group.
 */
name: string, } | { "of": "tag", 
/**
 * The tag.
 */
name: string, } | { "of": "site", 
/**
 * The site.
 */
name: string, };

/**
 * The body of every refusal. Each code documents its details' keys.
 */
export type ApiError = { 
/**
 * For programs.
 */
code: ErrorCode, 
/**
 * For people, in English, naming the cause and where there is one the remedy.
 */
message: string, 
/**
 * The facts, by key.
 */
details: { [key in string]: DetailValue }, };

/**
 * Several instances of one kind, wanted together.
 */
export type Batch = { 
/**
 * Their ids, UUIDv7, made by the window; 1..=20, none twice.
 */
ids: Array<string>, 
/**
 * What each of them is. A name is the prefix of theirs.
 */
request: InstanceRequest, 
/**
 * Whether no two of them may be on one machine.
 */
apart: boolean, };

/**
 * A batch that cannot be placed.
 */
export type BatchFailure = { "failure": "contradiction", 
/**
 * Which ones.
 */
contradiction: Contradiction, } | { "failure": "no_place", 
/**
 * How many were asked for.
 */
asked: number, 
/**
 * Which ones find no place once the others have theirs.
 */
unplaced: Array<Unplaced>, 
/**
 * True where every way to place them was tried; false where the search ended at its bound, and a way may have been missed.
 */
proven: boolean, };

/**
 * How the creation of a batch ended: all of them are there, or none is.
 */
export type BatchOutcome = { "outcome": "created", 
/**
 * They, in the order of their ids.
 */
instances: Array<Instance>, } | { "outcome": "refused", 
/**
 * Why.
 */
failure: BatchFailure, } | { "outcome": "undone", 
/**
 * The machine that refused.
 */
machine: string, 
/**
 * What it said.
 */
error: ApiError, 
/**
 * What could not be deleted again, by name.
 */
left: Array<string>, };

/**
 * Where a batch would go.
 */
export type BatchPreview = { "outcome": "places", 
/**
 * Each one's machine, in the order of their ids.
 */
machines: Array<string>, } | { "outcome": "refused", 
/**
 * Why.
 */
failure: BatchFailure, };

/**
 * A command on its way, with the id that follows it to the agent's log.
 */
export type Call = { 
/**
 * Made by the window, 1..=64 of `A-Z a-z 0-9 -`.
 */
request_id: string, 
/**
 * What is asked.
 */
command: Command, };

/**
 * One thing that this machine can do or lacks.
 */
export type Capability = { 
/**
 * A stable name, such as `hardware_virtualization` or `qemu`.
 */
name: string, 
/**
 * How it turned out.
 */
state: CapabilityState, 
/**
 * What was found, in words.
 */
finding: string, 
/**
 * What to do about it; absent when nothing is to be done.
 */
remedy: string | null, };

/**
 * How one thing that `host-runner doctor` looks at turned out.
 */
export type CapabilityState = "ok" | "limited" | "missing";

/**
 * Why a plan holds no more: the first of the changes that matter.
 */
export type Changed = { "changed": "machine_gone", 
/**
 * The machine.
 */
machine: string, 
/**
 * Its name.
 */
name: string, } | { "changed": "machine_offer", 
/**
 * The machine.
 */
machine: string, 
/**
 * Its name.
 */
name: string, } | { "changed": "machine_holds", 
/**
 * The machine.
 */
machine: string, 
/**
 * Its name.
 */
name: string, } | { "changed": "instance_gone", 
/**
 * The instance.
 */
instance: string, 
/**
 * Its name.
 */
name: string, } | { "changed": "instance_elsewhere", 
/**
 * The instance.
 */
instance: string, 
/**
 * Its name.
 */
name: string, 
/**
 * The name of the machine where it is now; absent for none.
 */
is: string | null, } | { "changed": "instance_needs", 
/**
 * The instance.
 */
instance: string, 
/**
 * Its name.
 */
name: string, };

/**
 * Everything that the window can ask for.
 */
export type Command = { "name": "window_open", "args": Record<symbol, never> } | { "name": "pool_get", "args": Record<symbol, never> } | { "name": "templates_list", "args": Record<symbol, never> } | { "name": "placement_preview", "args": { 
/**
 * What would be created.
 */
request: InstanceRequest, } } | { "name": "placement_reserve", "args": { 
/**
 * What would be created.
 */
request: InstanceRequest, } } | { "name": "instance_create", "args": { 
/**
 * UUIDv7, made by the window.
 */
id: string, 
/**
 * The machine; absent takes the best.
 */
machine: string | null, 
/**
 * What to create.
 */
request: InstanceRequest, } } | { "name": "batch_preview", "args": { 
/**
 * They.
 */
batch: Batch, } } | { "name": "batch_create", "args": { 
/**
 * They.
 */
batch: Batch, } } | { "name": "instance_act", "args": { 
/**
 * The machine that it is on.
 */
machine: string, 
/**
 * The instance.
 */
instance: string, 
/**
 * What to do.
 */
action: InstanceAction, } } | { "name": "machine_add", "args": { 
/**
 * The machine and the answers so far.
 */
request: AddMachine, } } | { "name": "machine_remove", "args": { 
/**
 * The machine.
 */
machine: string, } } | { "name": "machine_drain_set", "args": { 
/**
 * The machine.
 */
machine: string, 
/**
 * Whether it is to be left alone.
 */
draining: boolean, } } | { "name": "machine_reconnect", "args": { 
/**
 * The machine.
 */
machine: string, 
/**
 * The login password.
 */
password: string | null, 
/**
 * The key file's passphrase.
 */
passphrase: string | null, 
/**
 * The fingerprint that the person has compared and accepted, where the link was refused for an unknown host key.
 */
accepted_fingerprint?: string, } } | { "name": "activity_list", "args": { 
/**
 * Only entries older than this one.
 */
before: number | null, 
/**
 * How many, 1..=200.
 */
limit: number, } } | { "name": "plan_make", "args": { 
/**
 * What for.
 */
ask: PlanAsk, } } | { "name": "plan_check", "args": { 
/**
 * The plan.
 */
plan: string, } } | { "name": "recovery_check", "args": Record<symbol, never> } | { "name": "inventory_save", "args": Record<symbol, never> } | { "name": "settings_set", "args": { 
/**
 * All of it.
 */
settings: Settings, } } | { "name": "machine_chart", "args": { 
/**
 * The machine.
 */
machine: string, 
/**
 * Light or dark ink.
 */
dark: boolean, } };

/**
 * Why a command was not done.
 */
export type CommandError = { 
/**
 * What went wrong.
 */
error: ApiError, 
/**
 * The machine that it is about, as people know it.
 */
machine: string | null, 
/**
 * The id that finds the request in the logs.
 */
request_id: string, };

/**
 * What each command answers, by its name; for the window's types alone.
 */
export type CommandResults = { window_open: Opening, pool_get: PoolPicture, templates_list: Array<Template>, placement_preview: Preview, placement_reserve: Array<ReserveLost>, instance_create: Instance, batch_preview: BatchPreview, batch_create: BatchOutcome, 
/**
 * `null` after a delete.
 */
instance_act: Instance | null, machine_add: AddMachineOutcome, machine_remove: null, machine_drain_set: PoolMachine, machine_reconnect: null, activity_list: ActivityPage, plan_make: MadePlan, plan_check: PlanStanding, recovery_check: Recovery, inventory_save: SavedInventory, settings_set: Settings, machine_chart: string, };

/**
 * Wishes that cannot be met together, whatever the pool. Instances are named.
 */
export type Contradiction = { "contradiction": "together_and_apart", 
/**
 * Who must keep away.
 */
one: string, 
/**
 * From whom.
 */
other: string, } | { "contradiction": "tied_to_two", 
/**
 * The one.
 */
one: string, 
/**
 * The other.
 */
other: string, };

/**
 * What a plan depends on.
 */
export type DependsOn = { 
/**
 * The machines that something leaves or goes to, that are woken or put to sleep, or that the plan is about.
 */
machines: Array<MachineThen>, 
/**
 * The instances that are moved.
 */
instances: Array<InstanceThen>, };

/**
 * A fact beside an error: a text or a small number.
 */
export type DetailValue = number | string;

/**
 * How much of its machine's disk an instance may use in a second, at most; what is absent is not limited. A tenth of a second's worth can be
 * used at once. Without a disk of its own there is nothing to limit.
 */
export type DiskLimit = { 
/**
 * What is read and written together, 1..=1,048,576 MiB a second.
 */
mib_per_second?: number, 
/**
 * Requests of any size, 1..=10,000,000 a second.
 */
requests_per_second?: number, };

/**
 * The engine that an instance runs on, and why.
 */
export type EngineChoice = { 
/**
 * The engine.
 */
kind: EngineKind, 
/**
 * True where the CPU runs the guest itself; false where it is emulated.
 */
accelerated: boolean, 
/**
 * Why this engine, in words.
 */
reason: string, };

/**
 * What runs a guest.
 */
export type EngineKind = "qemu" | "microvm";

/**
 * Which engine an instance is to run on.
 */
export type EngineRequest = "auto" | "qemu" | "microvm";

/**
 * What went wrong, as a closed set: a program may match on it exhaustively.
 *
 * Codes of the host, of the link to it, and of the desktop share one enum, so that a window has one place to translate them.
 */
export type ErrorCode = "malformed_request" | "body_too_large" | "invalid_name" | "out_of_range" | "no_such_endpoint" | "instance_not_found" | "image_not_found" | "image_corrupt" | "name_taken" | "stale_generation" | "conflicting_spec" | "wrong_state" | "insufficient_memory" | "insufficient_disk" | "too_many_vcpus" | "no_engine" | "placement_rule" | "engine_failed" | "port_taken" | "disk_full" | "events_lost" | "timed_out" | "internal" | "unreachable" | "host_key_unknown" | "host_key_changed" | "authentication_failed" | "passphrase_needed" | "bad_local_file" | "agent_missing" | "version_mismatch" | "protocol_violation" | "machine_not_found" | "machine_known" | "storage" | "cancelled";

/**
 * A place in a host's event stream: which run of the agent, and how many events of it have passed.
 *
 * On the wire `EPOCH-SEQUENCE`, both decimal; it is the `id` of a server-sent event, and `Last-Event-ID` resumes after it.
 */
export type EventCursor = string;

/**
 * Why an instance failed.
 */
export type Failure = { 
/**
 * For programs.
 */
code: ErrorCode, 
/**
 * For people: the cause and the remedy.
 */
message: string, 
/**
 * The last lines that the engine wrote, at most 4 KiB; empty where it wrote nothing.
 */
log: string, 
/**
 * When.
 */
at: Timestamp, };

/**
 * A filter's name.
 */
export type FilterName = "state" | "pin" | "hardware" | "engine" | "image" | "sites" | "tags" | "threads" | "vcpus" | "memory" | "cpu" | "disks" | "together" | "apart" | "neighbours" | "recovery";

/**
 * Whether the CPU can run guests itself.
 *
 * An open `/dev/kvm` is not enough: without `vmx` or `svm` among the CPU's flags, guests are emulated.
 */
export type HardwareVirtualization = { 
/**
 * True where guests run on the CPU itself.
 */
available: boolean, 
/**
 * The finding in words: what is there, or what is missing and the remedy.
 */
reason: string, };

/**
 * What a machine is. Changes only when the agent restarts.
 */
export type HostFacts = { 
/**
 * The machine's identity, made at the agent's first start and kept.
 */
id: string, 
/**
 * The machine's host name.
 */
hostname: string, 
/**
 * The operating system, such as `Debian GNU/Linux 12 (bookworm)`.
 */
os: string, 
/**
 * The kernel's release, such as `6.1.0-28-amd64`.
 */
kernel: string, 
/**
 * The CPU's architecture, such as `x86_64`.
 */
arch: string, 
/**
 * The CPU's brand string; empty where it has none.
 */
cpu_model: string, 
/**
 * Hardware threads.
 */
threads: number, 
/**
 * All memory of the machine.
 */
memory_total_mib: Mib, 
/**
 * Memory that the machine offers to instances: the total less what is kept for the machine itself.
 */
memory_offered_mib: Mib, 
/**
 * What of the offered memory the engine of each instance takes beside its guest; 0 where the owner offers so little that engines
 * live on the rest.
 */
instance_overhead_mib: Mib, 
/**
 * Whether the CPU runs guests itself.
 */
hardware_virtualization: HardwareVirtualization, 
/**
 * The engines that work here.
 */
engines: Array<EngineKind>, 
/**
 * How instances reach the network.
 */
network: NetworkMode, 
/**
 * True when the agent runs as root.
 */
privileged: boolean, 
/**
 * Everything that `host-runner doctor` found.
 */
capabilities: Array<Capability>, 
/**
 * The agent's version, such as `0.1.0`.
 */
agent_version: string, 
/**
 * The contract's version, see [`API_VERSION`](super::API_VERSION).
 */
api_version: string, };

/**
 * An SSH host key that nobody has vouched for yet.
 */
export type HostKeyQuestion = { 
/**
 * The host and port that showed it.
 */
address: string, 
/**
 * The key's type, such as `ssh-ed25519`.
 */
key_type: string, 
/**
 * `SHA256:` and the unpadded base64 of the digest, as `ssh-keygen -lf` prints it.
 */
fingerprint: string, };

/**
 * How loaded a machine is, sampled every two seconds.
 */
export type HostUsage = { 
/**
 * When the sample was taken, by the machine's clock.
 */
sampled_at: Timestamp, 
/**
 * CPU in use over all threads, 0..=100.
 */
cpu_percent: number, 
/**
 * Memory in use by everything on the machine.
 */
memory_used_mib: Mib, 
/**
 * Memory promised to instances that run or start.
 */
memory_promised_mib: Mib, 
/**
 * Memory that one more instance could be promised, after what its engine and those of the others need beside it.
 */
memory_free_mib: Mib, 
/**
 * The size of the file system that holds the instances' disks.
 */
disk_total_mib: Mib, 
/**
 * Disk promised to instances.
 */
disk_promised_mib: Mib, 
/**
 * Disk that can still be promised.
 */
disk_free_mib: Mib, 
/**
 * Seconds since the machine started.
 */
uptime_s: number, };

/**
 * An image on a machine: content-addressed, read-only.
 */
export type Image = { 
/**
 * The name that a spec refers to, such as `tiny-linux`.
 */
name: string, 
/**
 * The name that people see, such as `Tiny Linux`.
 */
title: string, 
/**
 * One line about what it is.
 */
summary: string, 
/**
 * SHA-256 of the manifest, in lower-case hex: the same digest is the same image everywhere.
 */
digest: string, 
/**
 * The size of its files.
 */
size_mib: Mib, 
/**
 * The least memory that a guest of it boots with.
 */
memory_min_mib: Mib, 
/**
 * The least disk that an instance of it has: the size of the image's own, which it begins with; 0 where it needs none.
 */
disk_min_mib: Mib, 
/**
 * Whether it has a kernel of its own, which a microVM boots; without one, the disk's own boot loader starts it, on QEMU alone.
 */
has_kernel: boolean, 
/**
 * Whether it can be used.
 */
state: ImageState, 
/**
 * Why not, and the remedy; absent when it can.
 */
problem: string | null, 
/**
 * When it was made or imported.
 */
created_at: Timestamp, };

/**
 * Whether an image on a machine can be used.
 */
export type ImageState = "ready" | "corrupt";

/**
 * An instance as its machine sees it.
 */
export type Instance = { 
/**
 * A `UUIDv7`, made by the caller that created it.
 */
id: string, 
/**
 * The spec's generation.
 */
generation: number, 
/**
 * What it is meant to be.
 */
spec: InstanceSpec, 
/**
 * Whether it is meant to run.
 */
wanted_running: boolean, 
/**
 * Where it is in its life.
 */
state: RunState, 
/**
 * How far a running guest has come; absent when it does not run.
 */
progress: Progress | null, 
/**
 * Why it failed, why it is held though nobody asked for it, or what it runs without; present in state `failed`, in `paused` with a full
 * disk, and in `running` without its network.
 */
failure: Failure | null, 
/**
 * The engine, from its first start on.
 */
engine: EngineChoice | null, 
/**
 * The published ports; empty when it does not run.
 */
ports: Array<PublishedPort>, 
/**
 * What it uses; absent when it does not run.
 */
usage: InstanceUsage | null, 
/**
 * How much of its image's disk has been copied, 0 to 100; present only in state `creating`, and only where there is one to copy.
 */
copied_percent: number | null, 
/**
 * When it was created.
 */
created_at: Timestamp, 
/**
 * When its guest was last powered on; absent when it does not run.
 */
started_at: Timestamp | null, 
/**
 * Milliseconds from power-on to the login prompt of the present run, or to its guest's own word that it is ready; absent until then.
 */
boot_ms: number | null, 
/**
 * What its guest last said that it is at, in its own words: one line of at most 200 characters. Absent where it said nothing, and when
 * it does not run.
 */
guest_status: string | null, };

/**
 * What can be done to an instance.
 */
export type InstanceAction = "start" | "stop" | "force_stop" | "restart" | "delete";

/**
 * What a person asks for when a template is dropped, or the form is filled in.
 */
export type InstanceRequest = { 
/**
 * The instance's name; absent takes the next free one of the prefix.
 */
name: string | null, 
/**
 * The prefix for a name that is not given.
 */
name_prefix: string, 
/**
 * The image to start from.
 */
image: string, 
/**
 * Virtual CPUs.
 */
vcpus: number, 
/**
 * Guest memory.
 */
memory_mib: Mib, 
/**
 * The instance's own disk; 0 for none.
 */
disk_mib: Mib, 
/**
 * How fast that disk may be used; absent does not limit it.
 */
disk_limit?: DiskLimit, 
/**
 * How fast its network may be; absent does not limit it. Only machines where microVMs run can hold it to that.
 */
network_limit?: NetworkLimit, 
/**
 * TCP ports to publish.
 */
ports: Array<PortRequest>, 
/**
 * What it wishes of the machine that holds it; absent wishes nothing.
 */
placement?: Placement, };

/**
 * What an instance is meant to be.
 */
export type InstanceSpec = { 
/**
 * 1..=63 of `a-z`, `0-9` and `-`, starting and ending with a letter or digit (RFC 1123, a host name's label); unique on the
 * machine.
 */
name: string, 
/**
 * The image's name.
 */
image: string, 
/**
 * Virtual CPUs, 1..=64, at most the machine's threads.
 */
vcpus: number, 
/**
 * Guest memory, 16..=16,777,216 MiB.
 */
memory_mib: Mib, 
/**
 * The instance's own disk, 0..=67,108,864 MiB; 0 for none.
 */
disk_mib: Mib, 
/**
 * How fast that disk may be used; absent does not limit it.
 */
disk_limit?: DiskLimit, 
/**
 * How fast its network may be; absent does not limit it. Only the microVM monitor keeps to it, so it is refused together with QEMU, and
 * where no microVM runs.
 */
network_limit?: NetworkLimit, 
/**
 * Which engine to use.
 */
engine: EngineRequest, 
/**
 * TCP ports to publish, at most 16, no guest port twice.
 */
ports: Array<PortRequest>, 
/**
 * What it wishes of the machine that holds it; absent wishes nothing.
 */
placement?: Placement, };

/**
 * An instance that a plan moves, as it was.
 */
export type InstanceThen = { 
/**
 * The instance.
 */
instance: string, 
/**
 * Its name.
 */
name: string, 
/**
 * Where it was.
 */
machine: string | null, 
/**
 * A digest of what it needs.
 */
needs: string, };

/**
 * What a running instance uses, sampled every two seconds.
 */
export type InstanceUsage = { 
/**
 * CPU of its engine's process, 100 for one full thread.
 */
cpu_percent: number, 
/**
 * Resident memory of its engine's process.
 */
memory_mib: Mib, };

/**
 * An instance, or the pool as a whole, that a plan leaves where it is.
 */
export type LeftOut = { 
/**
 * The instance; absent where it is about the whole pool.
 */
instance: string | null, 
/**
 * Its name.
 */
name: string | null, 
/**
 * Why.
 */
reason: LeftOutReason, };

/**
 * Why something was not moved.
 */
export type LeftOutReason = { "reason": "fixed" } | { "reason": "pinned" } | { "reason": "stopped" } | { "reason": "cooldown", 
/**
 * How long it stays put yet, in seconds.
 */
remaining_s: number, } | { "reason": "gain_too_small", 
/**
 * The best gain found; negative where every move would raise the imbalance.
 */
gain: number, 
/**
 * What it would have to exceed.
 */
needed: number, } | { "reason": "moves_spent", 
/**
 * How many it may have.
 */
moves_max: number, } | { "reason": "no_place", 
/**
 * The machine that lacks least; absent where there is no other.
 */
nearest: string | null, 
/**
 * Why that one refuses.
 */
refusals: Array<Refusal>, } | { "reason": "stays_awake", 
/**
 * The machine.
 */
machine: string, 
/**
 * Its name.
 */
machine_name: string, 
/**
 * Why.
 */
why: StaysAwake, } | { "reason": "too_busy", 
/**
 * The machine.
 */
machine: string, 
/**
 * Its name.
 */
machine_name: string, } | { "reason": "balanced_enough", 
/**
 * The imbalance.
 */
imbalance: number, 
/**
 * What it would have to exceed.
 */
threshold: number, };

/**
 * The state of the session with a machine.
 */
export type Link = { "state": "connecting" } | { "state": "connected", 
/**
 * Since when.
 */
since: Timestamp, } | { "state": "unreachable", 
/**
 * Since when.
 */
since: Timestamp, 
/**
 * Why.
 */
error: ApiError, 
/**
 * When it will be tried again.
 */
retry_at: Timestamp, } | { "state": "refused", 
/**
 * Why, with the remedy.
 */
error: ApiError, };

/**
 * A machine's or a pool's load in the three things that run out, each as a share of what is offered: 0 is idle, 1 is full. With
 * overcommitted CPU it may exceed 1.
 */
export type Load = { 
/**
 * Predicted CPU demand to offered threads.
 */
cpu: number, 
/**
 * Promised to offered memory.
 */
memory: number, 
/**
 * Promised to offered disk; 0 where no disk is offered.
 */
disk: number, };

/**
 * How the desktop reaches a machine.
 */
export type MachineAddress = { "kind": "local" } | { "kind": "ssh", 
/**
 * A host name, an IP address, or an alias from `~/.ssh/config`.
 */
host: string, 
/**
 * The user to log in as.
 */
user: string | null, 
/**
 * The TCP port, 1..=65535.
 */
port: number | null, 
/**
 * A private key's file.
 */
identity_file: string | null, };

/**
 * A machine that a plan depends on, as it was.
 */
export type MachineThen = { 
/**
 * The machine.
 */
machine: string, 
/**
 * Its name.
 */
name: string, 
/**
 * A digest of its state and of all that it offers.
 */
offer: string, 
/**
 * A digest of the instances on it and of what they need.
 */
held: string, };

/**
 * A plan as the window shows it.
 */
export type MadePlan = { 
/**
 * Finds the plan again, while it is among the last few.
 */
id: string, 
/**
 * The plan.
 */
report: PlanReport, 
/**
 * Machines that the pool does not have, and the question added.
 */
added: Array<AddedMachine>, };

/**
 * A size in MiB (2^20 bytes).
 *
 * On the wire a plain JSON number; `u32` holds 4 PiB and is exact in every JSON reader.
 */
export type Mib = number;

/**
 * How an instance may move.
 */
export type Mobility = "live" | "cold" | "fixed";

/**
 * One instance goes from one machine to another.
 */
export type Move = { 
/**
 * The instance.
 */
instance: string, 
/**
 * Its name.
 */
name: string, 
/**
 * The machine that it leaves; absent for one that had none.
 */
from: string | null, 
/**
 * The machine that it goes to.
 */
to: string, 
/**
 * While it runs, or stopped; a recovery is always cold.
 */
how: Mobility, 
/**
 * Why.
 */
reason: MoveReason, 
/**
 * How long it is expected to take, in seconds: its memory at the slower machine's rate.
 */
duration_s: number, };

/**
 * Why an instance is moved.
 */
export type MoveReason = { "reason": "drain" } | { "reason": "recover" } | { "reason": "balance", 
/**
 * By how much, in units of [`Imbalance::value`](crate::state::Imbalance::value); more than 0.
 */
gain: number, } | { "reason": "exchange", 
/**
 * The others.
 */
with: Array<string>, 
/**
 * By how much all of them together, in the same units.
 */
gain: number, } | { "reason": "overload", 
/**
 * The machine's load with the instance.
 */
load: number, } | { "reason": "empty_for_sleep" } | { "reason": "makes_room", 
/**
 * For which.
 */
instance: string, } | { "reason": "placed" } | { "reason": "breaks_rule", 
/**
 * The rule.
 */
rule: Refusal, };

/**
 * How much an instance may send in a second, at most, and how much it receives; what is absent is not limited. A tenth of a second's worth can
 * go at once.
 */
export type NetworkLimit = { 
/**
 * 1..=1,000,000 Mbit a second, a million bits each, in each direction.
 */
mbit_per_second?: number, 
/**
 * Frames of any size, 1..=100,000,000 a second in each direction.
 */
frames_per_second?: number, };

/**
 * How instances on this machine reach the network.
 */
export type NetworkMode = "user";

/**
 * No machine can take the instance.
 */
export type NoPlace = { 
/**
 * How many machines there are.
 */
machines: number, 
/**
 * Which filters keep how many out: each machine counts where it is first refused.
 */
refused_by: Array<RefusedBy>, 
/**
 * The machine that lacks least; `null` in a pool without machines.
 */
nearest: string | null, 
/**
 * Its name.
 */
nearest_name: string | null, 
/**
 * Why that one refuses.
 */
refusals: Array<Refusal>, };

/**
 * What a window shows first.
 */
export type Opening = { 
/**
 * What was chosen for the window; the defaults where it cannot be read.
 */
settings: Settings, 
/**
 * The shelf.
 */
templates: Array<Template>, 
/**
 * The whole pool.
 */
picture: PoolPicture, };

/**
 * An instance and the machine that it is on.
 */
export type PlacedInstance = { 
/**
 * The machine's identity in the pool.
 */
machine: string, 
/**
 * The instance as last seen.
 */
instance: Instance, };

/**
 * What an instance wishes of the machine that holds it. The wishes travel with the instance, so that every desktop that manages it
 * decides alike; they bind whoever chooses a machine, and change nothing on the machine itself.
 */
export type Placement = { 
/**
 * The group that it belongs to, a label like a name; instances may wish to be near or far from a group's others.
 */
group: string | null, 
/**
 * Near what, and far from what, at most [`AFFINITIES_MAX`](Self::AFFINITIES_MAX).
 */
affinities: Array<Affinity>, 
/**
 * Who comes first where not all find room, higher before lower.
 */
priority: number, 
/**
 * How it may move.
 */
mobility: Mobility, 
/**
 * A host that would be liked, by [`HostFacts::id`](super::HostFacts::id): better than others, all else equal. It binds nobody.
 */
hint: string | null, 
/**
 * The only host that may hold it, by [`HostFacts::id`](super::HostFacts::id): every other is refused, and no plan moves it.
 */
pin: string | null, };

/**
 * What a person wants a plan for.
 */
export type PlanAsk = { "ask": "drain", 
/**
 * The machine.
 */
machine: string, } | { "ask": "failure", 
/**
 * The machine.
 */
machine: string, } | { "ask": "balance", } | { "ask": "save_power", } | { "ask": "what_if", 
/**
 * The edits, at most 16, done in this order.
 */
edits: Array<PoolEdit>, };

/**
 * A plan with what only its maker knows.
 */
export type PlanReport = { 
/**
 * How long it took to make, in milliseconds.
 */
took_ms: number, 
/**
 * The snapshot's version that it was made from.
 */
version: number, 
/**
 * What of that snapshot it depends on, as a digest: a later snapshot in which this is the same can still take the plan.
 */
fingerprint: string, 
/**
 * The same in detail, so that a refusal can say what has changed: see [`Plan::still_valid`].
 */
depends_on: DependsOn, 
/**
 * What is woken before, and put to sleep after.
 */
power: Array<PowerChange>, 
/**
 * The moves: a step begins when the one before it has ended.
 */
steps: Array<Step>, 
/**
 * What was left where it is, and why.
 */
left_out: Array<LeftOut>, 
/**
 * What finds no place. A drain that would strand an instance moves nothing.
 */
stranded: Array<Stranded>, 
/**
 * The pool before.
 */
before: PoolState, 
/**
 * The pool after.
 */
after: PoolState, 
/**
 * How it was found.
 */
found_by: SolverUsed, } & ({ "kind": "drain", 
/**
 * The machine.
 */
machine: string, } | { "kind": "balance" } | { "kind": "consolidate" } | { "kind": "recover", 
/**
 * The machine.
 */
machine: string, } | { "kind": "what_if" });

/**
 * Whether a plan still holds.
 */
export type PlanStanding = { "standing": "holds" } | { "standing": "changed", 
/**
 * The first such change.
 */
change: Changed, } | { "standing": "forgotten" };

/**
 * A policy that has a name.
 */
export type PolicyName = "spread" | "pack" | "save_power";

/**
 * What changed from one version of the picture to a later one. Machines keep their order, new ones come last; instances are ordered
 * by `created_at`, then `id`.
 *
 * Whoever holds `to` or a later version ignores it; whoever holds another version than `from` reads the whole again.
 */
export type PoolChange = { 
/**
 * The version that this applies to.
 */
from: number, 
/**
 * The version that it makes.
 */
to: number, 
/**
 * New or changed machines, whole.
 */
machines: Array<PoolMachine>, 
/**
 * Machines that left the pool.
 */
removed_machines: Array<string>, 
/**
 * New or changed instances, whole.
 */
instances: Array<PlacedInstance>, 
/**
 * Instances that are gone.
 */
removed_instances: Array<string>, };

/**
 * One edit of the pool, to see what it would bring.
 */
export type PoolEdit = { "edit": "remove_machine", 
/**
 * The machine.
 */
machine: string, } | { "edit": "add_machines_like", 
/**
 * The machine.
 */
machine: string, 
/**
 * How many, 1..=16.
 */
count: number, } | { "edit": "scale_load", 
/**
 * Of what is used now, 1..=1,000 percent.
 */
percent: number, };

/**
 * A machine of the pool as the window shows it.
 */
export type PoolMachine = { 
/**
 * The machine's identity in this desktop's pool.
 */
id: string, 
/**
 * The name that people know it by.
 */
name: string, 
/**
 * How it is reached.
 */
address: MachineAddress, 
/**
 * The state of the session with it.
 */
link: Link, 
/**
 * What it is; absent until the first connection.
 */
host: HostFacts | null, 
/**
 * How loaded it was when last seen; absent until the first connection.
 */
usage: HostUsage | null, 
/**
 * Its images.
 */
images: Array<Image>, 
/**
 * True where this desktop gives it no new instances; those that it has stay.
 */
draining: boolean, };

/**
 * The whole pool at one version.
 */
export type PoolPicture = { 
/**
 * Grows by one with every change; starts anew with the app.
 */
version: number, 
/**
 * The machines, in the order in which they were added; this computer first.
 */
machines: Array<PoolMachine>, 
/**
 * The instances of all machines, oldest first.
 */
instances: Array<PlacedInstance>, };

/**
 * The pool at one moment, in figures.
 */
export type PoolState = { 
/**
 * The mean load of the ready machines.
 */
mean_load: Load, 
/**
 * The fullest machine's CPU load.
 */
highest_cpu_load: number, 
/**
 * [`Imbalance::value`](crate::state::Imbalance::value).
 */
imbalance: number, 
/**
 * Whether a failure can be recovered.
 */
recovery: Recovery, 
/**
 * Electrical power of all awake machines at their predicted load, watts.
 */
power_w: number, 
/**
 * Machines that are awake.
 */
machines_awake: number, 
/**
 * Instances that have a place.
 */
instances_placed: number, };

/**
 * A guest's TCP port to publish on the machine.
 */
export type PortRequest = { 
/**
 * The port in the guest, 1..=65535.
 */
guest: number, 
/**
 * The port on the machine's loopback, 1..=65535; absent lets the machine choose a free one.
 */
host: number | null, };

/**
 * A machine is woken or put to sleep.
 */
export type PowerChange = { "change": "wake", 
/**
 * The machine.
 */
machine: string, } | { "change": "sleep", 
/**
 * The machine.
 */
machine: string, };

/**
 * Every machine's verdict, in the machines' order, and the best of those that fit.
 */
export type Preview = { 
/**
 * One verdict for each machine.
 */
verdicts: Array<Verdict>, 
/**
 * The machine with the highest score, the first of equals; `null` where none fits.
 */
best: string | null, };

/**
 * How far a running guest has come, as seen on its serial console or told by itself. A guest that prints and tells nothing stays at
 * `powered_on`.
 */
export type Progress = "powered_on" | "booting" | "ready";

/**
 * A guest's port as it is published.
 */
export type PublishedPort = { 
/**
 * The port in the guest.
 */
guest: number, 
/**
 * The port on the machine's 127.0.0.1.
 */
host: number, };

/**
 * Whether every single machine's failure could be recovered on the others, and if not, which could not.
 */
export type Recovery = { "verdict": "recoverable" } | { "verdict": "not_judged" } | { "verdict": "stranding", 
/**
 * The machine whose failure is meant.
 */
failure: string, 
/**
 * Its name.
 */
name: string, 
/**
 * Which of its instances would find no place.
 */
stranded: Array<Stranded>, 
/**
 * How many machines' failures in all could not be recovered.
 */
failures: number, };

/**
 * Why a machine cannot take an instance, with the numbers.
 */
export type Refusal = { "reason": "unreachable" } | { "reason": "draining" } | { "reason": "asleep" } | { "reason": "pinned_elsewhere", 
/**
 * That machine's name; its identity where it is not of this pool.
 */
machine: string, } | { "reason": "wrong_hardware", 
/**
 * The class that the instance needs.
 */
wanted: string, 
/**
 * The machine's class, if it is known.
 */
has: string | null, } | { "reason": "insufficient_memory", 
/**
 * What the instance needs, in MiB.
 */
needed_mib: Mib, 
/**
 * What the machine can still promise, in MiB.
 */
free_mib: Mib, } | { "reason": "insufficient_disk", 
/**
 * What the instance needs, in MiB.
 */
needed_mib: Mib, 
/**
 * What the machine can still promise, in MiB.
 */
free_mib: Mib, } | { "reason": "storage_full", 
/**
 * The storage.
 */
storage: string, 
/**
 * What the instance needs there, in MiB.
 */
needed_mib: Mib, 
/**
 * What the storage can still promise, in MiB.
 */
free_mib: Mib, } | { "reason": "storage_missing", 
/**
 * The storage.
 */
storage: string, } | { "reason": "too_many_vcpus", 
/**
 * What the instance needs.
 */
needed: number, 
/**
 * The machine's hardware threads.
 */
threads: number, } | { "reason": "too_many_vcpus_promised", 
/**
 * What the instance needs.
 */
needed: number, 
/**
 * What the machine can still promise.
 */
left: number, 
/**
 * What the machine may promise in all.
 */
limit: number, } | { "reason": "too_busy", 
/**
 * How much of its CPU would be in use with the instance, in percent, with the margin that is kept.
 */
expected_percent: number, 
/**
 * How much of it may be.
 */
limit_percent: number, } | { "reason": "image_missing", 
/**
 * The image's name.
 */
image: string, } | { "reason": "image_corrupt", 
/**
 * The image's name.
 */
image: string, } | { "reason": "no_engine", 
/**
 * The one that it needs, where it needs a certain one.
 */
needed: EngineKind | null, } | { "reason": "tag_missing", 
/**
 * The tag.
 */
tag: string, } | { "reason": "tag_forbidden", 
/**
 * The tag.
 */
tag: string, } | { "reason": "site_wrong", 
/**
 * Where the instance must be.
 */
wanted: string, 
/**
 * Where the machine stands, if that is known.
 */
has: string | null, } | { "reason": "site_forbidden", 
/**
 * The site.
 */
site: string, } | { "reason": "not_together", 
/**
 * The other instance, or the group.
 */
with: string, } | { "reason": "not_apart", 
/**
 * The other instance.
 */
from: string, } | { "reason": "breaks_recovery", 
/**
 * The machine whose failure is meant.
 */
failure: string, 
/**
 * How many instances would find no place.
 */
stranded: number, };

/**
 * How many machines one filter keeps out.
 */
export type RefusedBy = { 
/**
 * The filter.
 */
filter: FilterName, 
/**
 * Machines that it is the first to refuse.
 */
machines: number, };

/**
 * A machine that could take a new instance, but then one failure more could not be borne.
 */
export type ReserveLost = { 
/**
 * The machine that would take it.
 */
machine: string, 
/**
 * The machine whose failure is meant.
 */
failure: string, 
/**
 * How many instances would find no room then.
 */
stranded: number, };

/**
 * Where an instance is in its life.
 *
 * ```text
 * creating → stopped ⇄ starting → running ⇄ paused
 *               ↑                    ↓
 *               └──── stopping ←─────┘        anything → failed, anything → deleting
 * ```
 */
export type RunState = "creating" | "stopped" | "starting" | "running" | "paused" | "stopping" | "failed" | "deleting";

/**
 * An inventory that was written down.
 */
export type SavedInventory = { 
/**
 * The file.
 */
path: string, };

/**
 * What a person has chosen for the window.
 */
export type Settings = { 
/**
 * Light or dark.
 */
theme: ThemeChoice, 
/**
 * A language tag (`en`, `zh-CN`); absent follows the system.
 */
language: string | null, 
/**
 * How machines are chosen.
 */
placement: PolicyName, };

/**
 * Everything about a host at one moment, and where the events that follow it begin.
 */
export type Snapshot = { 
/**
 * What the machine is.
 */
host: HostFacts, 
/**
 * How loaded it is.
 */
usage: HostUsage, 
/**
 * Its images.
 */
images: Array<Image>, 
/**
 * Its instances.
 */
instances: Array<Instance>, 
/**
 * Read events after this.
 */
cursor: EventCursor, };

/**
 * How a plan is to be found.
 */
export type Solver = "heuristic" | "optimal";

/**
 * How a plan was found.
 */
export type SolverUsed = { 
/**
 * The way.
 */
solver: Solver, 
/**
 * True where it is proven that no better plan exists under the same rules.
 */
proven_optimal: boolean, 
/**
 * True where the time limit ended the search; the plan is the best found until then.
 */
stopped_by_limit: boolean, };

/**
 * Why a machine is not put to sleep.
 */
export type StaysAwake = { "because": "recovery" } | { "because": "awake_min", 
/**
 * How many.
 */
machines: number, } | { "because": "saves_too_little", 
/**
 * What it would save, in watts.
 */
saved_w: number, 
/**
 * What it would have to save, in watts.
 */
needed_w: number, };

/**
 * Moves that may run together: in any order, and at the same time, none overloads a machine.
 */
export type Step = { 
/**
 * The moves.
 */
moves: Array<Move>, };

/**
 * An instance that finds no place.
 */
export type Stranded = { 
/**
 * The instance.
 */
instance: string, 
/**
 * Its name.
 */
name: string, 
/**
 * The machine that lacks least, or the one that it would have gone to if there were a way; absent where there is no other.
 */
nearest: string | null, 
/**
 * Why that one refuses; never empty where there is one.
 */
refusals: Array<Refusal>, };

/**
 * Something on the shelf that can be dragged onto a machine.
 */
export type Template = { 
/**
 * A stable name, such as `tiny-linux`. The window has a title and a line of words for it in each language.
 */
id: string, 
/**
 * The image to start from.
 */
image: string, 
/**
 * The prefix of new instances' names: `tiny` gives `tiny-1`, `tiny-2`, …
 */
name_prefix: string, 
/**
 * Virtual CPUs.
 */
vcpus: number, 
/**
 * Guest memory.
 */
memory_mib: Mib, 
/**
 * The instance's own disk; 0 for none.
 */
disk_mib: Mib, 
/**
 * TCP ports to publish.
 */
ports: Array<PortRequest>, };

/**
 * One named part of a score.
 */
export type Term = { 
/**
 * What is judged.
 */
name: TermName, 
/**
 * 0 (worst) ..= 1 (best).
 */
value: number, 
/**
 * The term's share in the score; all weights add up to 1.
 */
weight: number, };

/**
 * A term's name.
 */
export type TermName = "cpu_left" | "memory_left" | "disk_left" | "evenness" | "packed" | "headroom" | "awake" | "empties" | "hint" | "affinity" | "stay";

/**
 * Light, dark, or as the system says.
 */
export type ThemeChoice = "system" | "light" | "dark";

/**
 * A moment in UTC. On the wire RFC 3339, such as `2026-01-31T08:05:00Z`.
 */
export type Timestamp = string;

/**
 * An instance of a batch that finds no place beside the others.
 */
export type Unplaced = { 
/**
 * The instance.
 */
instance: string, 
/**
 * Its name.
 */
name: string, 
/**
 * Who keeps it out.
 */
why: NoPlace, };

/**
 * What one machine answers.
 */
export type Verdict = { 
/**
 * The machine's identity in the pool.
 */
machine: string, 
/**
 * Why not, every reason; empty means that it fits.
 */
refusals: Array<Refusal>, 
/**
 * How good the machine would be, 0..=1; 0 where it does not fit.
 */
score: number, 
/**
 * What the score is made of; empty where it does not fit.
 */
terms: Array<Term>, };

/**
 * What is pushed to the window.
 */
export type WindowEvent = { "kind": "read_again" } | { "kind": "pool", 
/**
 * How.
 */
change: PoolChange, } | { "kind": "activity", 
/**
 * The entry.
 */
entry: ActivityEntry, };
