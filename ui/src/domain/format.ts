import type { Mib } from '../api/generated/contract';

const UNITS = ['MiB', 'GiB', 'TiB', 'PiB'] as const;

/** Cut, never rounded up: a machine must not seem to have more left than it has. */
function scaled(mib: Mib, unit: number): number {
  return Math.floor((mib * 10) / 1024 ** unit) / 10;
}

function unitOf(mib: Mib): number {
  let unit = 0;
  while (unit < UNITS.length - 1 && mib >= 1024 ** (unit + 1)) unit += 1;
  return unit;
}

const FORMATTERS = new Map<string, Intl.NumberFormat>();

/** A formatter costs more to make than to use a thousand times, and a large pool asks thousands of times. */
function formatter(locale: string, options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const key = locale + JSON.stringify(options);
  const known = FORMATTERS.get(key);
  if (known) return known;
  const made = new Intl.NumberFormat(locale, options);
  FORMATTERS.set(key, made);
  return made;
}

function number(value: number, locale: string): string {
  return formatter(locale, { maximumFractionDigits: 1 }).format(value);
}

/** A size for people: "512 MiB", "2.5 GiB", "64 GiB". */
export function formatMib(mib: Mib, locale = 'en'): string {
  const unit = unitOf(mib);
  return `${number(scaled(mib, unit), locale)} ${UNITS[unit] ?? 'MiB'}`;
}

/** A part and its whole, the unit of both said once where it is the same: "74" and "128 GiB". */
export function formatPart(part: Mib, whole: Mib, locale = 'en'): { part: string; whole: string } {
  const unit = unitOf(whole);
  const inWholesUnit = scaled(part, unit);
  // "0.1 of 24 GiB" says less than "128 MiB of 24 GiB".
  const fits = part === 0 || inWholesUnit >= 1;
  return {
    part: fits ? number(inWholesUnit, locale) : formatMib(part, locale),
    whole: formatMib(whole, locale),
  };
}

/** A quantity and what it becomes, the unit said once where it is the same: "128" and "256 MiB", "0" and "1 GiB". */
export function formatChange(before: Mib, after: Mib, locale = 'en'): { part: string; after: string } {
  const [from, to] = [formatMib(before, locale), formatMib(after, locale)];
  const [amount = from, unit] = from.split(' ');
  return { part: before === 0 || to.endsWith(` ${unit ?? ''}`) ? amount : from, after: to };
}

/** A share of a whole, 0..=1, as a whole percentage: "34%". */
export function formatShare(share: number, locale = 'en'): string {
  return formatter(locale, { style: 'percent', maximumFractionDigits: 0 }).format(share);
}

/** A score or one of its terms, 0..=1, with the two decimals that it is worth: "0.88". */
export function formatScore(score: number, locale = 'en'): string {
  return formatter(locale, { minimumFractionDigits: 2, maximumFractionDigits: 2 }).format(score);
}

/** A difference of scores with its sign: "+0.05", "−0.12". */
export function formatSigned(difference: number, locale = 'en'): string {
  return formatter(locale, { minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: 'exceptZero' })
    .format(difference)
    .replace('-', '−');
}

/** Words in a row: "the load stays more even, and it stays calmer". */
export function formatList(words: readonly string[], locale = 'en'): string {
  return new Intl.ListFormat(locale, { style: 'long', type: 'conjunction' }).format(words);
}

type DurationUnit = 'second' | 'minute' | 'hour' | 'day';

const STEPS: readonly (readonly [DurationUnit, number])[] = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
];

/** The units' symbols, the same in every language that has no character of its own for them. */
const SYMBOLS: Readonly<Record<string, string>> = { second: 's', minute: 'min', hour: 'h' };

/** A duration in its largest whole unit: "0.4 s", "12 s", "5 min", "41 days". Tenths of a second below ten. */
export function formatDuration(ms: number, locale = 'en'): string {
  const seconds = Math.max(0, ms) / 1000;
  const [unit, length] = STEPS.find(([, step]) => seconds >= step) ?? (['second', 1] as const);
  const value = seconds / length;
  const decimals = unit === 'second' && seconds < 10 ? 1 : 0;
  const cut = Math.floor(value * 10 ** decimals) / 10 ** decimals;
  const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  const symbol = locale.startsWith('zh') ? undefined : SYMBOLS[unit];
  return symbol === undefined
    ? formatter(locale, { style: 'unit', unit, unitDisplay: unit === 'day' ? 'long' : 'short', ...digits }).format(cut)
    : `${formatter(locale, digits).format(cut)} ${symbol}`;
}

/** The time of day: "14:07". */
export function formatClock(at: Date, locale = 'en'): string {
  return new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).format(at);
}

/** The time of day with seconds and, where it is not today, the date. */
export function formatMoment(at: Date, now: Date, locale = 'en'): string {
  const today = at.toDateString() === now.toDateString();
  return new Intl.DateTimeFormat(locale, {
    ...(today ? {} : { month: 'short', day: 'numeric' }),
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
  }).format(at);
}
