import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import type { PoolChange } from '../api/generated/contract';
import { startWords } from '../i18n';
import { idOf, machineOf, SCENES, TINY } from '../platform/testing/scenes';
import { ScriptedPlatform } from '../platform/testing/scripted';
import { startSession, type Session } from '.';
import { ASK_AGAIN_MS } from './dragging';
import { REGRET_MS } from './instances';
import { poolFeed } from './pool';

function scene(name: string) {
  const make = SCENES[name];
  if (!make) throw new Error(`there is no scene ${name}`);
  return make();
}

function emptyChange(from: number, to: number): PoolChange {
  return { from, to, machines: [], removed_machines: [], instances: [], removed_instances: [] };
}

describe('the live picture', () => {
  it('shows changes of one frame together', async () => {
    const flushes: (() => void)[] = [];
    const feed = poolFeed(new ScriptedPlatform({ picture: scene('seven') }), (flush) => flushes.push(flush));
    await feed.reread();
    const seen = vi.fn();
    feed.store.subscribe(seen);
    for (const cpu of [1, 2, 3]) {
      feed.change({
        ...emptyChange(cpu, cpu + 1),
        machines: [machineOf({ number: 3, name: 'boreas', gib: 31, cpu })],
      });
    }
    expect(seen).not.toHaveBeenCalled();
    flushes.forEach((flush) => flush());
    expect(seen).toHaveBeenCalledTimes(1);
    expect(feed.store.getState().pool.machines.get(idOf(3))?.usage?.cpu_percent).toBe(3);
  });

  it('reads the whole again after a change that was missed', async () => {
    const platform = new ScriptedPlatform({ picture: scene('seven') });
    const feed = poolFeed(platform, (flush) => flush());
    await feed.reread();
    feed.change(emptyChange(7, 8));
    await vi.waitFor(() => expect(platform.asked.filter(({ name }) => name === 'pool_get')).toHaveLength(2));
  });

  it('keeps what arrives while the whole is being read', async () => {
    const feed = poolFeed(new ScriptedPlatform({ picture: scene('seven') }), (flush) => flush());
    const reading = feed.reread();
    feed.change({ ...emptyChange(1, 2), removed_machines: [idOf(3)] });
    await reading;
    expect(feed.store.getState().pool.machines.has(idOf(3))).toBe(false);
  });

  it('is still shown, and said not to be live, when the other half is lost', async () => {
    const feed = poolFeed(new ScriptedPlatform({ picture: scene('seven') }), (flush) => flush());
    await feed.reread();
    feed.lost();
    expect(feed.store.getState()).toMatchObject({ live: false, read: true });
    expect(feed.store.getState().pool.order).toHaveLength(7);
  });
});

describe('a session', () => {
  let platform: ScriptedPlatform;
  let session: Session;

  beforeEach(async () => {
    vi.useFakeTimers();
    await startWords('en');
    platform = new ScriptedPlatform({ picture: scene('seven') });
    session = startSession(platform, { theme: 'light', language: 'en', placement: 'spread' });
    await vi.advanceTimersByTimeAsync(50);
  });
  afterEach(() => {
    session.end();
    vi.useRealTimers();
  });

  const asked = (name: string) => platform.asked.filter((command) => command.name === name);
  const instanceOf = (machine: number, at = 0) => {
    const found = session.pool.getState().pool.instances.get(idOf(machine))?.[at];
    if (!found) throw new Error('the scene has no such instance');
    return found;
  };

  it('drops onto a machine: asks once, creates there and shows the newcomer', async () => {
    session.dragging.lift(TINY, 'pointer');
    session.dragging.aim({ kind: 'machine', id: idOf(3) });
    session.dragging.aim({ kind: 'machine', id: idOf(2) });
    expect(await session.dragging.drop()).toEqual({ kind: 'started', machine: idOf(2) });
    expect(asked('placement_preview')).toHaveLength(1);
    const [create] = asked('instance_create');
    expect(create).toMatchObject({ args: { machine: idOf(2), request: { image: 'tiny-linux', memory_mib: 128 } } });
    expect(session.view.getState().selection.kind).toBe('instance');
  });

  it('drops onto a machine that is too small: explains with the numbers and creates nothing', async () => {
    session.dragging.lift({ ...TINY, memory_mib: 8192 }, 'pointer');
    session.dragging.aim({ kind: 'machine', id: idOf(4) });
    expect(await session.dragging.drop()).toEqual({ kind: 'refused' });
    expect(asked('instance_create')).toEqual([]);
    expect(session.toasts.getState().toasts[0]?.body).toEqual({
      kind: 'refused',
      title: { key: 'drag.refused', values: { machine: 'castor' } },
      reasons: [
        { key: 'refusal.insufficient_memory', values: { machine: 'castor', needed: 8192, free: 2048 } },
      ],
    });
  });

  it('drops outside the map: puts it back', async () => {
    session.dragging.lift(TINY, 'pointer');
    expect(await session.dragging.drop()).toEqual({ kind: 'cancelled' });
    expect(session.drag.getState().lifted).toBeUndefined();
    expect(asked('instance_create')).toEqual([]);
  });

  describe('a card that is held while somebody else uses the pool', () => {
    const fill = (freeMib: number) => {
      const machine = session.pool.getState().pool.machines.get(idOf(2));
      if (!machine?.usage) throw new Error('the scene has no usage of it');
      platform.change({ machines: [{ ...machine, usage: { ...machine.usage, memory_free_mib: freeMib } }] });
      return vi.advanceTimersByTimeAsync(50);
    };

    it('is judged by the pool of now, asked once for all that came meanwhile', async () => {
      session.dragging.lift(TINY, 'pointer');
      await vi.advanceTimersByTimeAsync(10);
      const before = session.drag.getState().preview;
      await fill(700);
      await fill(64);
      expect(asked('placement_preview')).toHaveLength(1);
      await vi.advanceTimersByTimeAsync(ASK_AGAIN_MS);
      expect(asked('placement_preview')).toHaveLength(2);
      expect(session.drag.getState().preview).not.toBe(before);
      await vi.advanceTimersByTimeAsync(10 * ASK_AGAIN_MS);
      expect(asked('placement_preview')).toHaveLength(2);
    });

    it('is refused by the machine that has filled up', async () => {
      session.dragging.lift(TINY, 'pointer');
      session.dragging.aim({ kind: 'machine', id: idOf(2) });
      await fill(64);
      await vi.advanceTimersByTimeAsync(ASK_AGAIN_MS);
      expect(await session.dragging.drop()).toEqual({ kind: 'refused' });
      expect(asked('instance_create')).toEqual([]);
    });

    it('is judged anew, too, when another one was let go a moment before', async () => {
      session.dragging.lift(TINY, 'pointer');
      await vi.advanceTimersByTimeAsync(10);
      await fill(700);
      session.dragging.cancel();
      session.dragging.lift(TINY, 'pointer');
      await vi.advanceTimersByTimeAsync(10);
      await fill(64);
      await vi.advanceTimersByTimeAsync(ASK_AGAIN_MS);
      expect(asked('placement_preview')).toHaveLength(3);
      const verdict = session.drag.getState().verdicts.get(idOf(2));
      expect(verdict?.refusals).toMatchObject([{ reason: 'insufficient_memory', free_mib: 64 }]);
    });

    it('asks nobody once it is put back', async () => {
      session.dragging.lift(TINY, 'pointer');
      session.dragging.cancel();
      await fill(64);
      await vi.advanceTimersByTimeAsync(ASK_AGAIN_MS);
      expect(asked('placement_preview')).toHaveLength(1);
    });
  });

  it('forgets the answers to a drag that was cancelled', async () => {
    session.dragging.lift(TINY, 'pointer');
    session.dragging.cancel();
    await vi.advanceTimersByTimeAsync(10);
    expect(session.drag.getState().preview).toBeUndefined();
  });

  it('deletes only after the time for regret', async () => {
    const instance = instanceOf(2);
    await session.instances.act(idOf(2), instance, 'delete');
    await vi.advanceTimersByTimeAsync(REGRET_MS - 1);
    expect(asked('instance_act')).toEqual([]);
    expect(session.instances.leaving.getState().leaving.has(instance.id)).toBe(true);
    await vi.advanceTimersByTimeAsync(2);
    expect(asked('instance_act')).toHaveLength(1);
    expect(session.instances.leaving.getState().leaving.size).toBe(0);
  });

  it('takes a delete back', async () => {
    const instance = instanceOf(2);
    await session.instances.act(idOf(2), instance, 'delete');
    session.toasts.getState().toasts[0]?.act?.run();
    await vi.advanceTimersByTimeAsync(REGRET_MS * 2);
    expect(asked('instance_act')).toEqual([]);
    expect(session.instances.leaving.getState().leaving.size).toBe(0);
  });

  it('says why a command was refused', async () => {
    const gone = { ...instanceOf(2), id: idOf(777) };
    await session.instances.act(idOf(2), gone, 'stop');
    expect(session.toasts.getState().toasts[0]?.body).toMatchObject({
      kind: 'error',
      error: { code: 'instance_not_found' },
    });
  });
});
