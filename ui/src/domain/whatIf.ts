import type { PoolEdit } from '../api/generated/contract';
import type { Message } from './message';

/** A question about another pool, as typed. Empty choices change nothing. */
export interface WhatIfForm {
  /** The machine that is taken away. */
  readonly without: string;
  /** The machine that more of are added. */
  readonly like: string;
  readonly count: string;
  /** Of the CPU that is used now. */
  readonly percent: string;
}

/** The pool as it is. */
export const UNCHANGED: WhatIfForm = { without: '', like: '', count: '1', percent: '100' };

const LIMITS = { count: { min: 1, max: 16 }, percent: { min: 1, max: 1000 } } as const;

/** What is wrong with a number; undefined where nothing is. */
export function whatIfProblem(field: keyof typeof LIMITS, form: WhatIfForm): Message | undefined {
  const { min, max } = LIMITS[field];
  const value = Number(form[field]);
  const good = /^\d+$/.test(form[field]) && value >= min && value <= max;
  return good ? undefined : { key: 'start.number.bad', values: { min, max } };
}

/** The edits that the form stands for; undefined while something is wrong, or nothing is changed. */
export function editsFrom(form: WhatIfForm): PoolEdit[] | undefined {
  if (whatIfProblem('count', form) ?? whatIfProblem('percent', form)) return undefined;
  const edits: PoolEdit[] = [];
  if (form.like !== '') edits.push({ edit: 'add_machines_like', machine: form.like, count: Number(form.count) });
  if (Number(form.percent) !== 100) edits.push({ edit: 'scale_load', percent: Number(form.percent) });
  // Last, so that one more like a machine can take its place.
  if (form.without !== '') edits.push({ edit: 'remove_machine', machine: form.without });
  return edits.length > 0 ? edits : undefined;
}
