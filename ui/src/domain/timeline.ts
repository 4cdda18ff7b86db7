import type { ActivityEntry, ActivityKind } from '../api/generated/contract';
import type { MessageKey } from '../i18n/en';
import type { Message } from './message';

/** How an entry of the activity list weighs. */
export type Weight = 'plain' | 'good' | 'trouble';

const WEIGHTS: Readonly<Partial<Record<ActivityKind, Weight>>> = {
  instance_ready: 'good',
  machine_connected: 'good',
  machine_unreachable: 'trouble',
  instance_failed: 'trouble',
  command_refused: 'trouble',
};

/** An entry's weight. */
export function weightOf(kind: ActivityKind): Weight {
  return WEIGHTS[kind] ?? 'plain';
}

/** An entry in words. `names` are what to call this computer, and what has no name. */
export function entryText(entry: ActivityEntry, names: EntryNames): Message {
  // The one sentence that has its machine in the middle.
  const place = entry.kind === 'instance_created' ? 'within' : 'title';
  const values = {
    machine: entry.machine === null ? names.machine : names.called[place](entry.machine),
    instance: entry.instance ?? names.instance,
  };
  if (entry.kind === 'instance_ready' && entry.took_ms !== null) {
    return { key: 'activity.instance_ready_in', values: { ...values, took: names.duration(entry.took_ms) } };
  }
  return { key: `activity.${entry.kind}` satisfies MessageKey, values };
}

/** The words that an entry needs from the reader's language. */
export interface EntryNames {
  readonly called: Readonly<Record<'title' | 'within', (name: string) => string>>;
  readonly machine: string;
  readonly instance: string;
  readonly duration: (ms: number) => string;
}

/** Where a moment lies on a line that ends now, 0..=1; undefined before its beginning. */
export function placeOnLine(at: string, nowMs: number, spanMs: number): number | undefined {
  const age = nowMs - Date.parse(at);
  if (Number.isNaN(age) || age > spanMs) return undefined;
  // A clock that runs ahead puts its events at now, not outside the line.
  return 1 - Math.max(0, age) / spanMs;
}
