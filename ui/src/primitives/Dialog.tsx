import { useEffect, useId, useRef, type MouseEvent, type ReactNode } from 'react';

import { IconButton } from './Button';
import styles from './Dialog.module.css';

interface DialogProps {
  title: string;
  /** One line beneath the title. */
  line?: string;
  closeLabel: string;
  onClose: () => void;
  children: ReactNode;
  /** Told loudly: something is dangerous. */
  alarm?: boolean;
  /** Without the title bar, for a dialog that is one field. The title is still its name. */
  bare?: boolean;
}

/**
 * A modal dialog: the browser's own, which keeps the focus inside, hides the rest from assistive technology, closes on Escape
 * and gives the focus back.
 */
export function Dialog({ title, line, closeLabel, onClose, children, alarm = false, bare = false }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();

  useEffect(() => {
    const element = dialog.current;
    const before = document.activeElement;
    if (element && !element.open) {
      element.showModal();
      // By itself it would be the first button, the one that closes.
      element.querySelector<HTMLElement>('form :is(input, select, textarea)')?.focus();
    }
    return () => {
      element?.close();
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);

  const onBackdrop = (event: MouseEvent) => {
    if (event.target === dialog.current) onClose();
  };

  return (
    // Escape is the keyboard's way to do what a press on the backdrop does.
    // eslint-disable-next-line jsx-a11y/no-noninteractive-element-interactions
    <dialog
      ref={dialog}
      className={styles.dialog}
      data-alarm={alarm}
      data-bare={bare}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onMouseDown={onBackdrop}
    >
      <div className={styles.sheet}>
        <header className={bare ? 'visually-hidden' : styles.head}>
          <div>
            <h2 id={heading}>{title}</h2>
            {line !== undefined && <p>{line}</p>}
          </div>
          {!bare && <IconButton icon="close" label={closeLabel} onClick={onClose} />}
        </header>
        {children}
      </div>
    </dialog>
  );
}
