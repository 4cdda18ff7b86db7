import type { Catalogue } from '../en';
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

/** Every word of the window, in Simplified Chinese. Chinese has one plural form; both keys say the same. */
export const zhCN: Catalogue = {
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
};
