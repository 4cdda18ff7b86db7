import type { Batch, BatchPreview } from '../../api/generated/contract';
import { batchRefusal, placesOf } from '../../domain/batch';
import { machineNamer } from '../../domain/naming';
import { useWords } from '../../i18n/useWords';
import type { Platform } from '../../platform';
import { useSession } from '../../session';
import styles from './NewInstance.module.css';
import { useAnswer } from './useAnswer';

interface PlacesProps {
  batch: Batch;
  places: BatchPreview | undefined;
  starting: boolean;
}

/** Where several would go, or why not all of them find a place; while they start, how far that is. */
export function Places({ batch, places, starting }: PlacesProps) {
  const session = useSession();
  const words = useWords();
  const { machines, order } = session.pool((state) => state.pool);
  const done = session.pool((state) => batch.ids.filter((id) => state.pool.places.has(id)).length);
  const namer = machineNamer(words);
  const nameOf = (id: string) => {
    const machine = machines.get(id);
    return machine ? namer.within(machine) : id;
  };
  return (
    <section className={styles.places} aria-label={words.t('start.several.places')} aria-live="polite">
      <h3>{words.t('start.several.places')}</h3>
      {starting && <p>{words.t('start.several.under_way', { done, count: batch.ids.length })}</p>}
      {!starting && places?.outcome === 'places' && (
        <ul>
          {placesOf(places.machines, order).map(([machine, count]) => (
            <li key={machine}>{words.t('start.several.place', { count, machine: nameOf(machine) })}</li>
          ))}
        </ul>
      )}
      {!starting && places?.outcome === 'refused' && (
        <div className={styles.refused}>
          {batchRefusal(places.failure, batch.apart, nameOf).map((reason) => (
            <p key={reason.key}>{words.say(reason)}</p>
          ))}
        </div>
      )}
    </section>
  );
}

/** Where several would go. */
export function useBatchPreview(batch: Batch | undefined): BatchPreview | undefined {
  return useAnswer(batch, askBatch);
}

const askBatch = (platform: Platform, batch: Batch) => platform.call('batch_preview', { batch });
