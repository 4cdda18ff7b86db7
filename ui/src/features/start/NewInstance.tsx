import { useState } from 'react';

import type { InstanceRequest, PoolMachine, Preview, Template } from '../../api/generated/contract';
import { BATCH_MAX } from '../../domain/batch';
import { machineNamer } from '../../domain/naming';
import { uuidV7 } from '../../domain/uuid';
import { standingOf, verdictText } from '../../domain/verdict';
import { useWords } from '../../i18n/useWords';
import type { Platform } from '../../platform';
import { Choice, Field } from '../../primitives/Field';
import { FormDialog } from '../../primitives/FormDialog';
import { useSession } from '../../session';
import { imagesOf, initialForm, prefixOf, problemOf, requestFrom, withImage, type StartForm } from './form';
import styles from './NewInstance.module.css';
import { Places, useBatchPreview } from './Places';
import { useAnswer } from './useAnswer';

/** The same as a drag, with every number open to choice; each machine answers as one types. */
export function NewInstance({ template }: { template: Template | undefined }) {
  const session = useSession();
  const words = useWords();
  const machines = session.pool((state) => state.pool.machines);
  const images = imagesOf(machines.values());
  const [form, setForm] = useState(() => initialForm(template, images));
  const [machine, setMachine] = useState<string | null>(null);
  const image = images.find(({ name }) => name === form.image);
  const request = requestFrom(form, template, image);
  const preview = usePreview(request);
  const [ids] = useState(() => Array.from({ length: BATCH_MAX }, uuidV7));
  const [apart, setApart] = useState(false);
  const count = request ? Number(form.count) : 1;
  const several = count > 1;
  const batch = request && several ? { ids: ids.slice(0, count), request, apart } : undefined;
  const places = useBatchPreview(batch);
  const [starting, setStarting] = useState(false);
  const close = () => session.view.getState().openDialog(undefined);
  const refused = preview?.verdicts.find((verdict) => verdict.machine === machine)?.refusals.length ?? 0;
  const ready = several
    ? places?.outcome === 'places' && !starting
    : request !== undefined && refused === 0 && (machine !== null || preview?.best !== null);

  const set = (field: keyof StartForm) => (value: string) => setForm((now) => ({ ...now, [field]: value }));
  const problem = (field: keyof StartForm) => {
    const found = problemOf(field, form, image);
    return found && words.say(found);
  };
  const submit = async () => {
    if (!request || !ready) return;
    if (batch) {
      setStarting(true);
      const started = await session.instances.createSeveral(batch);
      setStarting(false);
      if (started) close();
      return;
    }
    if (await session.instances.create(request, machine)) close();
  };
  return (
    <FormDialog
      title={words.t('start.title')}
      line={words.t('start.line')}
      closeLabel={words.t('dialog.close')}
      cancel={words.t('dialog.cancel')}
      submit={{
        label: several ? words.t('start.several.submit', { count }) : words.t('start.submit'),
        icon: 'play',
        why: ready ? undefined : words.t(several ? 'start.several.none' : 'map.water.none', { count }),
      }}
      onClose={close}
      onSubmit={() => void submit()}
    >
      <Choice
        label={words.t('start.image')}
        value={form.image}
        onValue={(name) => setForm((now) => withImage(now, name, images))}
        options={images.map((image) => ({ value: image.name, label: image.title }))}
      />
      <Field
        label={words.t('start.name')}
        value={form.name}
        onValue={set('name')}
        problem={problem('name')}
        hint={words.t('start.name.hint', { prefix: template?.name_prefix ?? prefixOf(form.image) })}
      />
      <div className={styles.numbers}>
        <Field inputMode="numeric" label={words.t('start.vcpus')} value={form.vcpus} onValue={set('vcpus')} problem={problem('vcpus')} />
        <Field inputMode="numeric" label={words.t('start.memory')} value={form.memory} onValue={set('memory')} problem={problem('memory')} />
        <Field
          inputMode="numeric"
          label={words.t('start.disk')}
          value={form.disk}
          onValue={set('disk')}
          problem={problem('disk')}
          hint={image && image.disk_min_mib > 0 ? words.t('start.disk.image', { min: image.disk_min_mib }) : words.t('start.disk.hint')}
        />
        <Field
          inputMode="numeric"
          label={words.t('start.disk_speed')}
          value={form.diskSpeed}
          onValue={set('diskSpeed')}
          problem={problem('diskSpeed')}
          hint={words.t('start.disk_speed.hint')}
        />
        <Field
          inputMode="numeric"
          label={words.t('start.network_speed')}
          value={form.networkSpeed}
          onValue={set('networkSpeed')}
          problem={problem('networkSpeed')}
          hint={words.t('start.network_speed.hint')}
        />
        <Field inputMode="numeric" label={words.t('start.count')} value={form.count} onValue={set('count')} problem={problem('count')} />
      </div>
      <label className={styles.apart}>
        <input type="checkbox" checked={apart} disabled={!several} onChange={(event) => setApart(event.target.checked)} />
        {words.t('start.apart')}
      </label>
      {batch ? (
        <Places batch={batch} places={places} starting={starting} />
      ) : (
        <Machines machines={machines} preview={preview} request={request} chosen={machine} onChoose={setMachine} />
      )}
    </FormDialog>
  );
}

/** Every machine's answer. */
function usePreview(request: InstanceRequest | undefined): Preview | undefined {
  return useAnswer(request, askMachines);
}

const askMachines = (platform: Platform, request: InstanceRequest) => platform.call('placement_preview', { request });

interface MachinesProps {
  machines: ReadonlyMap<string, PoolMachine>;
  preview: Preview | undefined;
  request: InstanceRequest | undefined;
  chosen: string | null;
  onChoose: (machine: string | null) => void;
}

function Machines({ machines, preview, request, chosen, onChoose }: MachinesProps) {
  const words = useWords();
  const namer = machineNamer(words);
  const nameOf = (id: string) => {
    const machine = machines.get(id);
    return machine ? namer.title(machine) : id;
  };
  const best = preview?.best ?? null;
  return (
    <fieldset className={styles.machines}>
      <legend>{words.t('start.machine')}</legend>
      <label className={styles.machine}>
        <input type="radio" name="machine" checked={chosen === null} onChange={() => onChoose(null)} />
        <b>{best === null ? words.t('start.best') : words.t('start.best.is', { machine: nameOf(best) })}</b>
      </label>
      {preview?.verdicts.map((verdict) => {
        const free = machines.get(verdict.machine)?.usage?.memory_free_mib ?? 0;
        const left = Math.max(0, free - (request?.memory_mib ?? 0));
        const name = nameOf(verdict.machine);
        const machine = machines.get(verdict.machine);
        const within = machine ? namer.within(machine) : name;
        return (
          <label key={verdict.machine} className={styles.machine} data-standing={standingOf(verdict, best)}>
            <input
              type="radio"
              name="machine"
              checked={chosen === verdict.machine}
              onChange={() => onChoose(verdict.machine)}
            />
            <b>{name}</b>
            {/* Of a form with a mistake in it no machine can say anything. */}
            {request && <small>{words.say(verdictText(verdict, best, within, left))}</small>}
          </label>
        );
      })}
    </fieldset>
  );
}
