import type { ReactNode } from 'react';

import styles from './Badge.module.css';

/** A word in a small frame. */
export function Badge({
  children,
  tone = 'plain',
  title,
}: {
  children: ReactNode;
  tone?: 'plain' | 'ok' | 'warn' | 'no' | 'accent';
  title?: string;
}) {
  return (
    <span className={styles.badge} data-tone={tone} title={title}>
      {children}
    </span>
  );
}
