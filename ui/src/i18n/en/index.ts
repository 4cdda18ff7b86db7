import { activity } from './activity';
import { errors } from './errors';
import { instances } from './instances';
import { machines } from './machines';
import { map } from './map';
import { palette } from './palette';
import { placement } from './placement';
import { plans } from './plans';
import { start } from './start';
import { window } from './window';

/**
 * Every word of the window, in English, one file for each area. Keys are flat; `_one` and `_other` are the plural forms of one key.
 * `{{x, mib}}` writes a size in MiB for people, `{{x, number}}` a number.
 */
export const en = {
  ...window,
  ...map,
  ...placement,
  ...start,
  ...instances,
  ...machines,
  ...plans,
  ...activity,
  ...palette,
  ...errors,
} as const;

type Form<Key> = Key extends `${infer Base}_other`
  ? Base
  : Key extends `${string}_one`
    ? never
    : Key;

/** A sentence of the window; plural forms count as one. */
export type MessageKey = Form<keyof typeof en>;

/** An area's words in another language: one that lacks a sentence, or has one more, does not compile. */
export type InWords<English> = Readonly<Record<keyof English, string>>;

/** A whole catalogue. */
export type Catalogue = InWords<typeof en>;
