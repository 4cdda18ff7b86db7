import { describe, expect, it } from 'vitest';

import { formatChange, formatClock, formatDuration, formatMib, formatMoment, formatPart, formatScore, formatShare } from './format';

describe('a size', () => {
  it.each([
    [0, '0 MiB'],
    [512, '512 MiB'],
    [1023, '1,023 MiB'],
    [1024, '1 GiB'],
    [2560, '2.5 GiB'],
    [65_536, '64 GiB'],
    [1_572_864, '1.5 TiB'],
    [4_294_967_295, '3.9 PiB'],
  ])('of %d MiB reads %s', (mib, words) => expect(formatMib(mib)).toBe(words));

  it('is never rounded up: nobody is promised what is not there', () => {
    expect(formatMib(2047)).toBe('1.9 GiB');
  });
});

describe('a part of a whole', () => {
  it('says the unit once', () => expect(formatPart(75_776, 131_072)).toEqual({ part: '74', whole: '128 GiB' }));
  it('says its own unit where it is smaller than one of the whole', () =>
    expect(formatPart(128, 24_576)).toEqual({ part: '128 MiB', whole: '24 GiB' }));
  it('of nothing is just 0', () => expect(formatPart(0, 24_576)).toEqual({ part: '0', whole: '24 GiB' }));
});

it('a change says the unit once where it is the same', () => {
  expect(formatChange(128, 256)).toEqual({ part: '128', after: '256 MiB' });
  expect(formatChange(0, 1024)).toEqual({ part: '0', after: '1 GiB' });
  expect(formatChange(512, 1536)).toEqual({ part: '512 MiB', after: '1.5 GiB' });
});

describe('a duration', () => {
  it.each([
    [-5, '0.0 s'],
    [3740, '3.7 s'],
    [59_999, '59 s'],
    [300_000, '5 min'],
    [7_200_000, '2 h'],
    [3_542_400_000, '41 days'],
  ])('of %d ms reads %s', (ms, words) => expect(formatDuration(ms)).toBe(words));

  it('speaks Chinese', () => {
    expect(formatDuration(3_542_400_000, 'zh-CN')).toBe('41天');
    expect(formatDuration(6240, 'zh-CN')).toBe('6.2秒');
  });
});

it('shares and scores have the digits that they are worth', () => {
  expect(formatShare(0.344)).toBe('34%');
  expect(formatScore(0.876)).toBe('0.88');
});

it('a moment names its day unless that is today', () => {
  const now = new Date(2026, 0, 31, 14, 7, 5);
  expect(formatClock(now)).toBe('14:07');
  expect(formatMoment(now, now)).toBe('14:07:05');
  expect(formatMoment(new Date(2026, 0, 30, 9, 0, 0), now)).toContain('Jan 30');
});
