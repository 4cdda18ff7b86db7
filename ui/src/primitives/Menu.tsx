import { useEffect, useRef, type KeyboardEvent, type ReactNode } from 'react';

import styles from './Menu.module.css';

/** One line of a menu. */
export interface MenuItem {
  readonly id: string;
  readonly label: string;
  /** A second, quieter line. */
  readonly note?: string;
  readonly tone?: 'best' | 'no';
  readonly checked?: boolean;
  /** Cannot be chosen; the note says why. */
  readonly blocked?: boolean;
  readonly separated?: boolean;
}

interface MenuProps {
  label: string;
  items: readonly MenuItem[];
  at: { readonly x: number; readonly y: number };
  header?: ReactNode;
  onChoose: (id: string) => void;
  onClose: () => void;
}

/** A menu at a point: arrows move, Enter chooses, Escape and a press elsewhere close. */
export function Menu({ label, items, at, header, onChoose, onClose }: MenuProps) {
  const menu = useRef<HTMLDivElement>(null);

  useEffect(() => {
    const before = document.activeElement;
    menu.current?.querySelector<HTMLElement>('[role^=menuitem]')?.focus();
    const onDown = (event: PointerEvent) => {
      if (!menu.current?.contains(event.target as Node)) onClose();
    };
    document.addEventListener('pointerdown', onDown, true);
    return () => {
      document.removeEventListener('pointerdown', onDown, true);
      if (before instanceof HTMLElement && !document.querySelector('dialog[open]')) before.focus();
    };
    // The menu is made anew each time it opens.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, []);

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Escape' || event.key === 'Tab') {
      event.preventDefault();
      event.stopPropagation();
      onClose();
      return;
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const all = [...(menu.current?.querySelectorAll<HTMLElement>('[role^=menuitem]') ?? [])];
    const now = all.findIndex((item) => item === document.activeElement);
    all[(now + step + all.length) % all.length]?.focus();
  };

  return (
    <div
      ref={menu}
      role="menu"
      tabIndex={-1}
      aria-label={label}
      className={styles.menu}
      onKeyDown={onKeyDown}
      style={{
        left: Math.min(at.x, window.innerWidth - 290),
        top: Math.min(at.y, Math.max(16, window.innerHeight - 60 - items.length * 40)),
      }}
    >
      {header !== undefined && (
        <div className={styles.header} role="presentation">
          {header}
        </div>
      )}
      {items.map((item) => (
        <button
          key={item.id}
          type="button"
          role={item.checked === undefined ? 'menuitem' : 'menuitemradio'}
          aria-checked={item.checked}
          aria-disabled={item.blocked ?? false}
          tabIndex={-1}
          className={styles.item}
          data-tone={item.tone}
          data-separated={item.separated}
          onClick={() => {
            if (item.blocked) return;
            onClose();
            onChoose(item.id);
          }}
        >
          <span>{item.label}</span>
          {item.note !== undefined && <small>{item.note}</small>}
        </button>
      ))}
    </div>
  );
}
