import type { Instance, InstanceAction, Link } from '../api/generated/contract';
import { phaseOf, type Phase } from './lifecycle';
import type { Message } from './message';

/** The actions in the order in which they are offered. */
export const ACTIONS: readonly InstanceAction[] = ['start', 'stop', 'restart', 'force_stop', 'delete'];

/** In which phases the host accepts each action. */
const PERMITTED: Readonly<Record<InstanceAction, readonly Phase[]>> = {
  start: ['stopped', 'failed'],
  stop: ['starting', 'booting', 'ready', 'paused'],
  restart: ['booting', 'ready', 'paused'],
  force_stop: ['starting', 'booting', 'ready', 'paused', 'stopping'],
  delete: ['creating', 'stopped', 'starting', 'booting', 'ready', 'paused', 'stopping', 'failed'],
};

/** Why an action cannot be done now, in words that a tooltip can show; undefined means go ahead. */
export function blocked(
  action: InstanceAction,
  instance: Pick<Instance, 'state' | 'progress'>,
  link: Link,
): Message | undefined {
  if (link.state !== 'connected') return { key: 'blocked.link' };
  const phase = phaseOf(instance);
  if (PERMITTED[action].includes(phase)) return undefined;
  return { key: `blocked.${phase}` };
}

/** Why the console cannot be opened now; undefined means go ahead. */
export function consoleBlocked(instance: Pick<Instance, 'state' | 'progress'>, link: Link): Message | undefined {
  if (link.state !== 'connected') return { key: 'blocked.link' };
  const phase = phaseOf(instance);
  return ['starting', 'booting', 'ready', 'paused', 'stopping'].includes(phase)
    ? undefined
    : { key: `blocked.console.${phase === 'creating' ? 'creating' : 'off'}` };
}
