import type { Instance } from '../api/generated/contract';

/** Where an instance is, as a person sees it: the guest's progress joined to the machine's state. */
export type Phase =
  | 'creating'
  | 'starting'
  | 'booting'
  | 'ready'
  | 'paused'
  | 'stopping'
  | 'stopped'
  | 'failed'
  | 'deleting';

/** An instance's phase. A running guest boots until its login prompt is up. */
export function phaseOf(instance: Pick<Instance, 'state' | 'progress'>): Phase {
  if (instance.state !== 'running') return instance.state;
  return instance.progress === 'ready' ? 'ready' : 'booting';
}

/** True while something is under way that will end by itself. */
export function isMoving(phase: Phase): boolean {
  return ['creating', 'starting', 'booting', 'stopping', 'deleting'].includes(phase);
}

/** True while the machine keeps a promise of memory for the instance. */
export function holdsMemory(phase: Phase): boolean {
  return !['creating', 'stopped', 'failed', 'deleting'].includes(phase);
}

/** How hard a running instance works, of what its vCPUs could do. */
export type Load = 'calm' | 'busy' | 'hot';

const BUSY_FROM = 0.5;
const HOT_FROM = 0.85;

/** The load of a sample, where 100 % is one full thread. */
export function loadOf(cpuPercent: number, vcpus: number): Load {
  const share = vcpus > 0 ? cpuPercent / (100 * vcpus) : 0;
  if (share >= HOT_FROM) return 'hot';
  return share >= BUSY_FROM ? 'busy' : 'calm';
}

/** The way from a drop to a prompt. */
export const JOURNEY = ['created', 'starting', 'booting', 'ready'] as const;

export type JourneyStep = (typeof JOURNEY)[number];
export type StepState = 'done' | 'now' | 'ahead' | 'failed';

/**
 * Each step of the way to the prompt; absent where no way is being gone (stopped, stopping, deleting, paused).
 * A failure is shown at the step that the instance had reached when it failed.
 */
export function journeyOf(
  instance: Pick<Instance, 'state' | 'progress' | 'engine' | 'wanted_running'>,
): readonly StepState[] | undefined {
  const phase = phaseOf(instance);
  switch (phase) {
    case 'creating':
      return ['now', 'ahead', 'ahead', 'ahead'];
    case 'starting':
      return ['done', 'now', 'ahead', 'ahead'];
    case 'booting':
      return ['done', 'done', 'now', 'ahead'];
    case 'ready':
      return ['done', 'done', 'done', 'done'];
    case 'failed':
      return instance.engine === null
        ? ['failed', 'ahead', 'ahead', 'ahead']
        : ['done', 'failed', 'ahead', 'ahead'];
    default:
      return undefined;
  }
}
