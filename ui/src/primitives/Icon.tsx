/** Line drawings on a 16 px grid, in the colour of the text around them. */
const PATHS = {
  search: 'M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10ZM10.6 10.6 14 14',
  plus: 'M8 3v10M3 8h10',
  close: 'm4 4 8 8M12 4l-8 8',
  more: 'M3.5 8h.01M8 8h.01M12.5 8h.01',
  play: 'M5 3.5v9l7-4.5-7-4.5Z',
  stop: 'M4.5 4.5h7v7h-7z',
  power: 'M8 2v5.5M4.7 4.2a5 5 0 1 0 6.6 0',
  plug: 'M6 2v3M10 2v3M4 5h8v2.5a4 4 0 0 1-8 0V5ZM8 11.5V14',
  again: 'M13 8a5 5 0 1 1-1.6-3.7M13 2.5v3h-3',
  bin: 'M3 4.5h10M6.5 4V2.5h3V4M4.5 4.5l.6 8.5h5.8l.6-8.5',
  terminal: 'M2.5 3.5h11v9h-11zM5 6.5 7 8 5 9.5M8.5 10H11',
  warning: 'M8 2.5 14 13H2L8 2.5ZM8 6.5V9M8 11h.01',
  check: 'm3.5 8.5 3 3 6-7',
  down: 'm4 6 4 4 4-4',
  up: 'm4 10 4-4 4 4',
  sun: 'M8 10.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5ZM8 1.5v1.6M8 12.9v1.6M1.5 8h1.6M12.9 8h1.6M3.4 3.4l1.1 1.1M11.5 11.5l1.1 1.1M3.4 12.6l1.1-1.1M11.5 4.5l1.1-1.1',
  arrow: 'M3 8h9.5M9 4.5 12.5 8 9 11.5',
  key: 'M9.5 6.5a3 3 0 1 0-2.4 2.9L8.5 11H10v1.5h1.5V14H13v-2.2L9.4 8.2c.1-.5.1-1.1.1-1.7ZM5.5 6h.01',
  machine: 'M3 2.5h10v11H3zM5.5 5.5h5M5.5 10.5h.01',
} as const;

export type IconName = keyof typeof PATHS;

/** An icon beside words; it has no name of its own. */
export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg
      viewBox="0 0 16 16"
      width={size}
      height={size}
      fill="none"
      stroke="currentColor"
      strokeWidth={name === 'more' ? 2.4 : 1.5}
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      focusable="false"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
