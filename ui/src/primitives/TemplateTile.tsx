import styles from './TemplateTile.module.css';

const HUES = 5;

/** A coloured tile with a title's first letter; the same id always has the same colour. */
export function TemplateTile({ id, title }: { id: string; title: string }) {
  let hash = 0;
  for (const character of id) hash = (hash * 37 + (character.codePointAt(0) ?? 0)) % 9973;
  return (
    <span className={styles.tile} data-hue={hash % HUES} aria-hidden="true">
      {title.charAt(0).toUpperCase()}
    </span>
  );
}
