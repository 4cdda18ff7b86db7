import type { ReactNode } from 'react';

import { Button } from './Button';
import { Dialog } from './Dialog';
import styles from './FormDialog.module.css';
import type { IconName } from './Icon';

interface FormDialogProps {
  title: string;
  /** One line beneath the title. */
  line: string;
  closeLabel: string;
  cancel: string;
  submit: {
    readonly label: string;
    readonly icon?: IconName;
    /** Why it cannot be pressed now. */
    readonly why: string | undefined;
  };
  onClose: () => void;
  /** Enter in a field does it, too: whether the form is good is for the caller to look. */
  onSubmit: () => void;
  children: ReactNode;
}

/** A dialog that is one form: its fields, and at the end a way out and a way on. */
export function FormDialog({ title, line, closeLabel, cancel, submit, onClose, onSubmit, children }: FormDialogProps) {
  return (
    <Dialog title={title} line={line} closeLabel={closeLabel} onClose={onClose}>
      <form
        className={styles.form}
        onSubmit={(event) => {
          event.preventDefault();
          onSubmit();
        }}
      >
        {children}
        <div className={styles.end}>
          <Button kind="quiet" onClick={onClose}>
            {cancel}
          </Button>
          <Button kind="primary" type="submit" why={submit.why} {...(submit.icon && { icon: submit.icon })}>
            {submit.label}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
