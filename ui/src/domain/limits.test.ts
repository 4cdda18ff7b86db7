import { expect, it } from 'vitest';

import { diskLimitText, networkLimitText } from './limits';

it('says of a disk what it is limited to, and nothing where it is not', () => {
  expect(diskLimitText(undefined)).toBeUndefined();
  expect(diskLimitText({})).toBeUndefined();
  expect(diskLimitText({ mib_per_second: 20 })).toEqual({ key: 'instance.disk.limit.speed', values: { speed: 20 } });
  expect(diskLimitText({ requests_per_second: 500 })?.key).toBe('instance.disk.limit.requests');
  expect(diskLimitText({ mib_per_second: 20, requests_per_second: 500 })?.values).toEqual({ speed: 20, requests: 500 });
});

it('says so of a network, too', () => {
  expect(networkLimitText(undefined)).toBeUndefined();
  expect(networkLimitText({})).toBeUndefined();
  expect(networkLimitText({ mbit_per_second: 20 })).toEqual({ key: 'instance.network.limit.speed', values: { speed: 20 } });
  expect(networkLimitText({ frames_per_second: 500 })?.key).toBe('instance.network.limit.frames');
  expect(networkLimitText({ mbit_per_second: 20, frames_per_second: 500 })?.values).toEqual({ speed: 20, frames: 500 });
});
