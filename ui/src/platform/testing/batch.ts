import type { Batch, BatchPreview, PoolPicture, Refusal } from '../../api/generated/contract';

/** Each instance goes where most memory is free, as far as a picture needs it. */
export function batchPreviewOf({ ids, request, apart }: Batch, picture: PoolPicture): BatchPreview {
  const free = new Map(
    picture.machines
      .filter(({ link, draining }) => link.state === 'connected' && !draining)
      .map(({ id, usage }) => [id, usage?.memory_free_mib ?? 0]),
  );
  const machines: string[] = [];
  while (machines.length < ids.length) {
    const open = [...free].filter(([one]) => !apart || !machines.includes(one)).sort((a, b) => b[1] - a[1]);
    const [machine, room] = open[0] ?? [undefined, 0];
    if (machine === undefined || room < request.memory_mib) {
      const name = (index: number) => `${request.name_prefix}-${String(index + 1)}`;
      const refusal: Refusal =
        machine === undefined
          ? { reason: 'not_apart', from: name(0) }
          : { reason: 'insufficient_memory', needed_mib: request.memory_mib, free_mib: room };
      const why = {
        machines: picture.machines.length,
        refused_by: [],
        nearest: machine ?? machines[0] ?? null,
        nearest_name: null,
        refusals: [refusal],
      };
      const unplaced = ids
        .map((instance, index) => ({ instance, name: name(index), why }))
        .slice(machines.length);
      return { outcome: 'refused', failure: { failure: 'no_place', asked: ids.length, unplaced, proven: true } };
    }
    free.set(machine, room - request.memory_mib);
    machines.push(machine);
  }
  return { outcome: 'places', machines };
}
