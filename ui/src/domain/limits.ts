import type { DiskLimit, NetworkLimit } from '../api/generated/contract';
import type { Message } from './message';

/** How fast an instance's disk may be used, in words; undefined where it is not limited. */
export function diskLimitText(limit: DiskLimit | undefined): Message | undefined {
  const speed = limit?.mib_per_second;
  const requests = limit?.requests_per_second;
  if (speed !== undefined && requests !== undefined) return { key: 'instance.disk.limit.both', values: { speed, requests } };
  if (speed !== undefined) return { key: 'instance.disk.limit.speed', values: { speed } };
  if (requests !== undefined) return { key: 'instance.disk.limit.requests', values: { requests } };
  return undefined;
}

/** How fast an instance's network may be, in words; undefined where it is not limited. */
export function networkLimitText(limit: NetworkLimit | undefined): Message | undefined {
  const speed = limit?.mbit_per_second;
  const frames = limit?.frames_per_second;
  if (speed !== undefined && frames !== undefined) return { key: 'instance.network.limit.both', values: { speed, frames } };
  if (speed !== undefined) return { key: 'instance.network.limit.speed', values: { speed } };
  if (frames !== undefined) return { key: 'instance.network.limit.frames', values: { frames } };
  return undefined;
}
