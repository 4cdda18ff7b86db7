import { useId, type ComponentProps, type ReactNode } from 'react';

import styles from './Button.module.css';
import { Icon, type IconName } from './Icon';

interface ButtonProps extends Omit<ComponentProps<'button'>, 'children' | 'disabled' | 'className'> {
  children: ReactNode;
  icon?: IconName;
  kind?: 'plain' | 'primary' | 'quiet' | 'danger';
  /** Why it cannot be pressed now. The button stays reachable, so that the reason is too. */
  why?: string | undefined;
  wide?: boolean;
}

/** A button with words. */
export function Button({ children, icon, kind = 'plain', why, wide = false, onClick, ...rest }: ButtonProps) {
  const reason = useId();
  return (
    <span className={styles.hold} data-wide={wide}>
      <button
        type="button"
        {...rest}
        className={styles.button}
        data-kind={kind}
        aria-disabled={why !== undefined}
        aria-describedby={why === undefined ? rest['aria-describedby'] : reason}
        onClick={why === undefined ? onClick : (event) => event.preventDefault()}
      >
        {icon && <Icon name={icon} />}
        <span>{children}</span>
      </button>
      {why !== undefined && (
        <span role="tooltip" id={reason} className={styles.why}>
          {why}
        </span>
      )}
    </span>
  );
}

interface IconButtonProps extends Omit<ComponentProps<'button'>, 'children' | 'className'> {
  icon: IconName;
  /** Its name, for those who do not see the icon, and as a tooltip. */
  label: string;
}

/** A button with an icon alone. */
export function IconButton({ icon, label, ...rest }: IconButtonProps) {
  return (
    <button type="button" {...rest} className={styles.icon} aria-label={label} title={label}>
      <Icon name={icon} />
    </button>
  );
}
