import { expect, it } from 'vitest';

import { limitText } from './diskLimit';

it('says of a disk what it is limited to, and nothing where it is not', () => {
  expect(limitText(undefined)).toBeUndefined();
  expect(limitText({})).toBeUndefined();
  expect(limitText({ mib_per_second: 20 })).toEqual({ key: 'instance.disk.limit.speed', values: { speed: 20 } });
  expect(limitText({ requests_per_second: 500 })?.key).toBe('instance.disk.limit.requests');
  expect(limitText({ mib_per_second: 20, requests_per_second: 500 })?.values).toEqual({ speed: 20, requests: 500 });
});
