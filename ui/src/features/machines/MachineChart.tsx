import { useEffect, useState } from 'react';

import { useWords } from '../../i18n/useWords';
import { Section } from '../../primitives/Panel';
import { useSession } from '../../session';
import styles from './MachinePanel.module.css';

/** As often as its line grows by something that can be seen. */
const REDRAW_MS = 15_000;

/** CPU and memory of the last hour. */
export function MachineChart({ machine, name }: { machine: string; name: string }) {
  const session = useSession();
  const words = useWords();
  const dark = session.settings.store((state) => state.dark);
  const [svg, setSvg] = useState<string | undefined>(undefined);

  useEffect(() => {
    let shown = true;
    const draw = () => {
      session.platform.call('machine_chart', { machine, dark }).then(
        (drawn) => {
          if (shown) setSvg(drawn);
        },
        // A chart is beside the point while the machine is away; the panel says why it is.
        () => undefined,
      );
    };
    draw();
    const timer = setInterval(draw, REDRAW_MS);
    return () => {
      shown = false;
      clearInterval(timer);
    };
  }, [session.platform, machine, dark]);

  return (
    <Section title={words.t('machine.chart')}>
      {svg === undefined || svg === '' ? (
        <p className={styles.quiet}>{words.t('machine.chart.none')}</p>
      ) : (
        // An image, never markup: whatever a chart contains, it cannot run.
        <img
          className={styles.chart}
          src={`data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`}
          alt={words.t('machine.chart.alt', { machine: name })}
        />
      )}
    </Section>
  );
}
