import styles from './Gauge.module.css';

interface GaugeProps {
  label: string;
  /** What the bar says, in words. */
  value: string;
  /** 0..=1. */
  share: number;
  /** Shown under the first: what is used of what is promised, 0..=1. */
  inner?: number;
  note?: string;
  layout?: 'line' | 'block';
}

/** A bar that fills, with its words beside it. */
export function Gauge({ label, value, share, inner, note, layout = 'line' }: GaugeProps) {
  const percent = Math.round(Math.min(1, Math.max(0, share)) * 100);
  return (
    <div
      className={styles.gauge}
      data-layout={layout}
      role="meter"
      aria-label={label}
      aria-valuenow={percent}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuetext={value}
    >
      <span className={styles.label}>{label}</span>
      <span className={styles.bar}>
        <i style={{ width: `${percent}%` }} data-full={percent >= 90} />
        {inner !== undefined && <b style={{ left: `${Math.round(Math.min(1, inner) * 100)}%` }} />}
      </span>
      <span className={styles.value}>{value}</span>
      {note !== undefined && <span className={styles.note}>{note}</span>}
    </div>
  );
}
