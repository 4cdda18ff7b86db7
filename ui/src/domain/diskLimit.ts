import type { DiskLimit } from '../api/generated/contract';
import type { Message } from './message';

/** How fast an instance's disk may be used, in words; undefined where it is not limited. */
export function limitText(limit: DiskLimit | undefined): Message | undefined {
  const speed = limit?.mib_per_second;
  const requests = limit?.requests_per_second;
  if (speed !== undefined && requests !== undefined) return { key: 'instance.disk.limit.both', values: { speed, requests } };
  if (speed !== undefined) return { key: 'instance.disk.limit.speed', values: { speed } };
  if (requests !== undefined) return { key: 'instance.disk.limit.requests', values: { requests } };
  return undefined;
}
