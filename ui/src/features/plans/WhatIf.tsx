import { useState } from 'react';

import { machineNamer } from '../../domain/naming';
import { editsFrom, UNCHANGED, whatIfProblem, type WhatIfForm } from '../../domain/whatIf';
import { useWords } from '../../i18n/useWords';
import { Choice, Field } from '../../primitives/Field';
import { FormDialog } from '../../primitives/FormDialog';
import { useSession } from '../../session';
import styles from './WhatIf.module.css';

/** Edits of the pool that are only thought: a machine less, some more, another load. */
export function WhatIf() {
  const session = useSession();
  const words = useWords();
  const [form, setForm] = useState(UNCHANGED);
  const order = session.pool((state) => state.pool.order);
  const machines = session.pool((state) => state.pool.machines);
  const close = () => session.view.getState().openDialog(undefined);
  const set = (field: keyof WhatIfForm) => (value: string) => setForm((now) => ({ ...now, [field]: value }));
  const edits = editsFrom(form);
  const namer = machineNamer(words);
  const choices = [
    { value: '', label: words.t('what_if.none') },
    ...order.flatMap((id) => {
      const machine = machines.get(id);
      return machine ? [{ value: id, label: namer.title(machine) }] : [];
    }),
  ];
  const problem = (field: 'count' | 'percent') => {
    const found = whatIfProblem(field, form);
    return found && words.say(found);
  };
  const submit = () => {
    if (!edits) return;
    close();
    void session.plans.make({ ask: 'what_if', edits });
  };
  return (
    <FormDialog
      title={words.t('what_if.title')}
      line={words.t('what_if.line')}
      closeLabel={words.t('dialog.close')}
      cancel={words.t('dialog.cancel')}
      submit={{ label: words.t('what_if.submit'), why: edits ? undefined : words.t('what_if.nothing') }}
      onClose={close}
      onSubmit={submit}
    >
      <Choice label={words.t('what_if.without')} value={form.without} onValue={set('without')} options={choices} />
      <div className={styles.more}>
        <Choice label={words.t('what_if.like')} value={form.like} onValue={set('like')} options={choices} />
        <Field
          inputMode="numeric"
          label={words.t('what_if.count')}
          value={form.count}
          onValue={set('count')}
          problem={problem('count')}
        />
      </div>
      <Field
        inputMode="numeric"
        label={words.t('what_if.percent')}
        value={form.percent}
        onValue={set('percent')}
        problem={problem('percent')}
        hint={words.t('what_if.percent.hint')}
      />
    </FormDialog>
  );
}
