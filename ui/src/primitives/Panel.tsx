import { useId, type ReactNode } from 'react';

import { IconButton } from './Button';
import { Icon } from './Icon';
import styles from './Panel.module.css';

interface PanelProps {
  /** What kind of thing it is about: the region's name. */
  region: string;
  title: string;
  line: ReactNode;
  closeLabel: string;
  onClose: () => void;
  /** Exactly as high as the side panel, for content that scrolls by itself. */
  fill?: boolean;
  children: ReactNode;
}

/** The side panel's content about one thing. */
export function Panel({ region, title, line, closeLabel, onClose, fill = false, children }: PanelProps) {
  return (
    <section className={styles.panel} data-fill={fill} aria-label={region}>
      <header className={styles.head}>
        <div>
          <h2>{title}</h2>
          <p>{line}</p>
        </div>
        <IconButton icon="close" label={closeLabel} onClick={onClose} />
      </header>
      {children}
    </section>
  );
}

/** A titled part of a panel. */
export function Section({ title, children }: { title: string; children: ReactNode }) {
  const heading = useId();
  return (
    <section className={styles.section} aria-labelledby={heading}>
      <h3 id={heading}>{title}</h3>
      {children}
    </section>
  );
}

/** A fact and its name. */
export function Fact({ name, children, note }: { name: string; children: ReactNode; note?: string | undefined }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>
        {children}
        {note !== undefined && <small>{note}</small>}
      </dd>
    </>
  );
}

/** More words for those who want them. */
export function Disclosure({ title, children }: { title: string; children: ReactNode }) {
  return (
    <details className={styles.more}>
      <summary>{title}</summary>
      <p>{children}</p>
    </details>
  );
}

/** Facts, one to a line. */
export function Facts({ children }: { children: ReactNode }) {
  return <dl className={styles.facts}>{children}</dl>;
}

/** Buttons in a row. */
export function Actions({ children }: { children: ReactNode }) {
  return <div className={styles.actions}>{children}</div>;
}

/** Parts beneath each other. */
export function Stack({ children }: { children: ReactNode }) {
  return <div className={styles.stack}>{children}</div>;
}

/** Something that should not be overlooked. */
export function Notice({ tone, children }: { tone: 'warn' | 'no'; children: ReactNode }) {
  return (
    <div className={styles.notice} data-tone={tone}>
      <Icon name="warning" />
      <div>{children}</div>
    </div>
  );
}

/** The end of a log, as it was written. */
export function Log({ label, text }: { label: string; text: string }) {
  return (
    // A log that scrolls must be reachable by keyboard.
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex
    <pre className={styles.log} tabIndex={0} role="region" aria-label={label}>
      {text}
    </pre>
  );
}
