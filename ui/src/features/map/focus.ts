import type { KeyboardEvent } from 'react';

const STOP = '[data-map-stop]';

/**
 * Moves the focus with the arrow keys. Four thousand blocks must not be four thousand stops of the Tab key: the map has one,
 * which goes with the focus, and is set on the elements directly so that moving renders nothing.
 */
export function moveFocus(event: KeyboardEvent<HTMLElement>): void {
  const from = (event.target as HTMLElement).closest<HTMLElement>(STOP);
  const to = from && next(event.key, from, event.currentTarget);
  if (!to) return;
  event.preventDefault();
  event.currentTarget.querySelectorAll<HTMLElement>(`${STOP}[tabindex="0"]`).forEach((stop) => (stop.tabIndex = -1));
  to.tabIndex = 0;
  to.focus();
  to.scrollIntoView({ block: 'nearest' });
}

function next(key: string, from: HTMLElement, map: HTMLElement): HTMLElement | undefined {
  const vessel = from.closest<HTMLElement>('[data-machine-id]');
  const blocks = [...(vessel?.querySelectorAll<HTMLElement>('[data-map-stop="block"]') ?? [])];
  const machine = vessel?.querySelector<HTMLElement>('[data-map-stop="machine"]') ?? undefined;
  if (from.dataset['mapStop'] === 'block') {
    const at = blocks.indexOf(from);
    if (key === 'ArrowRight' || key === 'ArrowDown') return blocks[at + 1];
    if (key === 'ArrowLeft' || key === 'ArrowUp') return blocks[at - 1] ?? machine;
    return key === 'Escape' ? machine : undefined;
  }
  const machines = [...map.querySelectorAll<HTMLElement>('[data-map-stop="machine"]')];
  const at = machines.indexOf(from);
  switch (key) {
    case 'ArrowRight':
      return machines[at + 1];
    case 'ArrowLeft':
      return machines[at - 1];
    case 'ArrowDown':
      return blocks[0];
    case 'Home':
      return machines[0];
    case 'End':
      return machines.at(-1);
    default:
      return undefined;
  }
}

/** Makes sure that the Tab key can enter the map, also after the machine that held its stop has left. */
export function keepOneTabStop(map: HTMLElement): void {
  if (map.querySelector(`${STOP}[tabindex="0"]`)) return;
  const first = map.querySelector<HTMLElement>(STOP);
  if (first) first.tabIndex = 0;
}
