import { describe, expect, it } from 'vitest';

import type { Instance, Link, Progress, RunState } from '../api/generated/contract';
import { ACTIONS, blocked, consoleBlocked } from './actions';

const CONNECTED: Link = { state: 'connected', since: '2026-01-31T08:00:00Z' };
const AWAY: Link = {
  state: 'unreachable',
  since: '2026-01-31T08:00:00Z',
  error: { code: 'unreachable', message: 'gone', details: {} },
  retry_at: '2026-01-31T08:00:10Z',
};

function at(state: RunState, progress: Progress | null = null): Pick<Instance, 'state' | 'progress'> {
  return { state, progress };
}

function permitted(instance: Pick<Instance, 'state' | 'progress'>): string[] {
  return ACTIONS.filter((action) => !blocked(action, instance, CONNECTED));
}

describe('what can be done to an instance', () => {
  it.each([
    ['creating', null, ['delete']],
    ['stopped', null, ['start', 'delete']],
    ['starting', null, ['stop', 'force_stop', 'delete']],
    ['running', 'booting', ['stop', 'restart', 'force_stop', 'delete']],
    ['running', 'ready', ['stop', 'restart', 'force_stop', 'delete']],
    ['paused', null, ['stop', 'restart', 'force_stop', 'delete']],
    ['stopping', null, ['force_stop', 'delete']],
    ['failed', null, ['start', 'delete']],
    ['deleting', null, []],
  ] as const)('while %s (%s): %j', (state, progress, actions) =>
    expect(permitted(at(state, progress))).toEqual(actions),
  );

  it('says why not', () => {
    expect(blocked('start', at('running', 'ready'), CONNECTED)).toEqual({ key: 'blocked.ready' });
    expect(blocked('stop', at('stopped'), CONNECTED)).toEqual({ key: 'blocked.stopped' });
  });

  it('is nothing while its machine is away', () => {
    for (const action of ACTIONS) {
      expect(blocked(action, at('running', 'ready'), AWAY)).toEqual({ key: 'blocked.link' });
    }
  });
});

describe('the console', () => {
  it('opens from the first start on, also while the guest stops', () => {
    for (const state of ['starting', 'running', 'paused', 'stopping'] as const) {
      expect(consoleBlocked(at(state), CONNECTED)).toBeUndefined();
    }
  });
  it('says why not', () => {
    expect(consoleBlocked(at('creating'), CONNECTED)).toEqual({ key: 'blocked.console.creating' });
    expect(consoleBlocked(at('stopped'), CONNECTED)).toEqual({ key: 'blocked.console.off' });
    expect(consoleBlocked(at('running'), AWAY)).toEqual({ key: 'blocked.link' });
  });
});
