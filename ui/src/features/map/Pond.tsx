import styles from './Pond.module.css';

const WAVES = [
  'M0 14c60 0 60-9 120-9s60 9 120 9 60-9 120-9 60 9 120 9 60-9 120-9 60 9 120 9 60-9 120-9 60 9 120 9',
  'M0 9c70 0 70 8 140 8s70-8 140-8 70 8 140 8 70-8 140-8 70 8 140 8 70-8 140-8 70 8 120 8',
] as const;

/** The water that the machines stand before. A picture only. */
export function Pond() {
  return (
    <div className={styles.pond} aria-hidden="true">
      {WAVES.map((wave) => (
        <svg key={wave} viewBox="0 0 960 22" preserveAspectRatio="none">
          <path d={wave} />
        </svg>
      ))}
    </div>
  );
}
