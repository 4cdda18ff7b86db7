import { describe, expect, it } from 'vitest';

import type { Image } from '../../api/generated/contract';
import { initialForm, problemOf, requestFrom, withImage } from './form';

const image = (name: string, memory: number, disk: number): Image => ({
  name,
  title: name,
  summary: '',
  digest: 'a'.repeat(64),
  size_mib: 28,
  memory_min_mib: memory,
  disk_min_mib: disk,
  has_kernel: true,
  state: 'ready',
  problem: null,
  created_at: '2026-01-31T08:00:00Z',
});
const TINY = image('tiny-linux', 64, 0);
const DEBIAN = image('debian', 256, 2048);

describe('a new instance', () => {
  it('begins with no less than its image needs', () => {
    expect(initialForm(undefined, [DEBIAN, TINY])).toMatchObject({ image: 'debian', memory: '256', disk: '2048' });
    expect(initialForm(undefined, [TINY])).toMatchObject({ memory: '128', disk: '0' });
  });

  it('keeps what is more than another image needs', () => {
    const form = { ...initialForm(undefined, [TINY]), memory: '512', disk: '100' };
    expect(withImage(form, 'debian', [DEBIAN, TINY])).toMatchObject({ image: 'debian', memory: '512', disk: '2048' });
  });

  it('is told in its field what its image needs, before any machine refuses it', () => {
    const form = { ...initialForm(undefined, [DEBIAN]), memory: '128', disk: '2047' };
    expect(problemOf('memory', form, DEBIAN)).toMatchObject({ key: 'start.number.bad', values: { min: 256 } });
    expect(problemOf('disk', form, DEBIAN)).toMatchObject({ values: { min: 2048 } });
    expect(requestFrom(form, undefined, DEBIAN)).toBeUndefined();
    expect(requestFrom(form, undefined, TINY)).toMatchObject({ memory_mib: 128, disk_mib: 2047 });
  });

  it('has a disk as fast as the machine can, unless it is limited', () => {
    const form = { ...initialForm(undefined, [TINY]), disk: '100' };
    expect(requestFrom(form, undefined, TINY)).not.toHaveProperty('disk_limit');
    expect(requestFrom({ ...form, diskSpeed: '20' }, undefined, TINY)?.disk_limit).toEqual({ mib_per_second: 20 });
    for (const diskSpeed of ['0', '1.5', '-1', ' ', '1048577']) {
      expect(problemOf('diskSpeed', { ...form, diskSpeed }, TINY)).toMatchObject({ values: { min: 1, max: 1_048_576 } });
    }
  });

  it('has a network as fast as the machine can, unless it is limited', () => {
    const form = initialForm(undefined, [TINY]);
    expect(requestFrom(form, undefined, TINY)).not.toHaveProperty('network_limit');
    expect(requestFrom({ ...form, networkSpeed: '100' }, undefined, TINY)?.network_limit).toEqual({ mbit_per_second: 100 });
    for (const networkSpeed of ['0', '1.5', '-1', ' ', '1000001']) {
      expect(problemOf('networkSpeed', { ...form, networkSpeed }, TINY)).toMatchObject({ values: { min: 1, max: 1_000_000 } });
    }
  });

  it('has no such limit where its image starts from its disk, which no microVM can', () => {
    const image = { ...TINY, has_kernel: false };
    const form = initialForm(undefined, [image]);
    expect(requestFrom(form, undefined, image)).toBeDefined();
    expect(problemOf('networkSpeed', { ...form, networkSpeed: '100' }, image)?.key).toBe('start.network_speed.no_kernel');
  });

  it('is one only with numbers that are whole and in range', () => {
    const form = initialForm(undefined, [TINY]);
    for (const vcpus of ['', '0', '65', '1.5', '1e1', '-1']) {
      expect(problemOf('vcpus', { ...form, vcpus }, TINY)).toBeDefined();
    }
    expect(problemOf('image', initialForm(undefined, []), undefined)).toEqual({ key: 'start.no_image' });
  });
});
