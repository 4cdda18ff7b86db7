import type { Link, Mib, PoolMachine, Preview, Refusal, Verdict } from '../api/generated/contract';
import type { Message } from './message';

/** A refusal in words, with its numbers: "needs 8 GiB, castor has 2.5 GiB free". */
export function refusalText(refusal: Refusal, machine: string): Message {
  switch (refusal.reason) {
    case 'unreachable':
      return { key: 'refusal.unreachable', values: { machine } };
    case 'no_engine':
      return { key: refusal.needed === null ? 'refusal.no_engine' : `refusal.no_engine.${refusal.needed}`, values: { machine } };
    case 'insufficient_memory':
      return {
        key: 'refusal.insufficient_memory',
        values: { machine, needed: refusal.needed_mib, free: refusal.free_mib },
      };
    case 'insufficient_disk':
      return {
        key: 'refusal.insufficient_disk',
        values: { machine, needed: refusal.needed_mib, free: refusal.free_mib },
      };
    case 'too_many_vcpus':
      return {
        key: 'refusal.too_many_vcpus',
        values: { machine, needed: refusal.needed, threads: refusal.threads },
      };
    case 'image_missing':
      return { key: 'refusal.image_missing', values: { machine, image: refusal.image } };
    case 'image_corrupt':
      return { key: 'refusal.image_corrupt', values: { machine, image: refusal.image } };
    case 'draining':
      return { key: 'refusal.draining', values: { machine } };
    case 'asleep':
      return { key: 'refusal.asleep', values: { machine } };
    case 'pinned_elsewhere':
      return { key: 'refusal.pinned_elsewhere', values: { pinned: refusal.machine } };
    case 'wrong_hardware':
      return refusal.has === null
        ? { key: 'refusal.wrong_hardware_unknown', values: { machine, wanted: refusal.wanted } }
        : { key: 'refusal.wrong_hardware', values: { machine, wanted: refusal.wanted, has: refusal.has } };
    case 'storage_full':
      return {
        key: 'refusal.storage_full',
        values: { machine, storage: refusal.storage, needed: refusal.needed_mib, free: refusal.free_mib },
      };
    case 'storage_missing':
      return { key: 'refusal.storage_missing', values: { machine, storage: refusal.storage } };
    case 'too_many_vcpus_promised':
      return {
        key: 'refusal.too_many_vcpus_promised',
        values: { machine, needed: refusal.needed, left: refusal.left, limit: refusal.limit },
      };
    case 'too_busy':
      return {
        key: 'refusal.too_busy',
        values: { machine, expected: refusal.expected_percent, limit: refusal.limit_percent },
      };
    case 'tag_missing':
      return { key: 'refusal.tag_missing', values: { machine, tag: refusal.tag } };
    case 'tag_forbidden':
      return { key: 'refusal.tag_forbidden', values: { machine, tag: refusal.tag } };
    case 'site_wrong':
      return refusal.has === null
        ? { key: 'refusal.site_wrong_unknown', values: { machine, wanted: refusal.wanted } }
        : { key: 'refusal.site_wrong', values: { machine, wanted: refusal.wanted, has: refusal.has } };
    case 'site_forbidden':
      return { key: 'refusal.site_forbidden', values: { machine, site: refusal.site } };
    case 'not_together':
      return { key: 'refusal.not_together', values: { machine, with: refusal.with } };
    case 'not_apart':
      return { key: 'refusal.not_apart', values: { machine, from: refusal.from } };
    case 'breaks_recovery':
      return {
        key: 'refusal.breaks_recovery',
        values: { failure: refusal.failure, count: refusal.stranded },
      };
  }
}

/** How a machine stands to what is being dragged. */
export type Standing = 'best' | 'fits' | 'refused';

/** A verdict's standing. */
export function standingOf(verdict: Verdict, best: string | null): Standing {
  if (verdict.refusals.length > 0) return 'refused';
  return verdict.machine === best ? 'best' : 'fits';
}

/** A verdict's one line of words: the first reason, or how good the machine would be. */
export function verdictText(verdict: Verdict, best: string | null, machine: string, memoryAfter: Mib): Message {
  const first = verdict.refusals[0];
  if (first) return refusalText(first, machine);
  const key = verdict.machine === best ? 'verdict.best' : 'verdict.fits';
  return { key, values: { left: memoryAfter } };
}

/** Where something was let go: over a machine, over open water, or outside the map. */
export type DropTarget =
  | { readonly kind: 'machine'; readonly id: string }
  | { readonly kind: 'water' }
  | { readonly kind: 'outside' };

/** What letting go there does. Decided here for pointer, keyboard and menus alike. */
export type DropOutcome =
  | { readonly kind: 'create'; readonly machine: string }
  | { readonly kind: 'refused'; readonly machine: string; readonly refusals: readonly Refusal[] }
  | { readonly kind: 'nowhere_fits' }
  | { readonly kind: 'cancelled' };

/** What a drop on `target` does, given every machine's verdict. */
export function dropOutcome(preview: Preview, target: DropTarget): DropOutcome {
  switch (target.kind) {
    case 'outside':
      return { kind: 'cancelled' };
    case 'water':
      return preview.best === null ? { kind: 'nowhere_fits' } : { kind: 'create', machine: preview.best };
    case 'machine': {
      const verdict = preview.verdicts.find((one) => one.machine === target.id);
      // A machine that joined after the question was asked has not answered it: its host decides.
      if (verdict === undefined || verdict.refusals.length === 0) {
        return { kind: 'create', machine: target.id };
      }
      return { kind: 'refused', machine: target.id, refusals: verdict.refusals };
    }
  }
}

/** A link's state in words. */
export function linkText(link: Link, nowMs: number): Message {
  switch (link.state) {
    case 'connecting':
      return { key: 'link.connecting' };
    case 'connected':
      return { key: 'link.connected' };
    case 'refused':
      return { key: 'link.refused' };
    case 'unreachable': {
      const seconds = Math.ceil((Date.parse(link.retry_at) - nowMs) / 1000);
      return seconds > 0
        ? { key: 'link.unreachable_retry', values: { seconds } }
        : { key: 'link.unreachable' };
    }
  }
}

/** The pool's health: how many machines need somebody. */
export function healthOf(machines: Iterable<PoolMachine>): { total: number; away: number; refused: number } {
  const health = { total: 0, away: 0, refused: 0 };
  for (const machine of machines) {
    health.total += 1;
    if (machine.link.state === 'unreachable') health.away += 1;
    if (machine.link.state === 'refused') health.refused += 1;
  }
  return health;
}
