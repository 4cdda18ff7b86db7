import { useEffect, useRef } from 'react';

import { titleOfTemplate } from '../../domain/naming';
import { useWords } from '../../i18n/useWords';
import { TemplateTile } from '../../primitives/TemplateTile';
import { useSession } from '../../session';
import type { Lifted } from '../../session/drag';
import styles from './DragCard.module.css';

/** The card in the hand. */
export function DragCard() {
  const session = useSession();
  const lifted = session.drag((state) => state.lifted);
  return lifted && <Card key={lifted.by} lifted={lifted} />;
}

/** Where the pointer holds the card. */
const GRIP = { x: 34, y: 26 } as const;

function Card({ lifted }: { lifted: Lifted }) {
  const session = useSession();
  const words = useWords();
  const card = useRef<HTMLDivElement>(null);
  const title = titleOfTemplate(lifted.template, words);

  useEffect(() => {
    const put = (x: number, y: number) => {
      // Straight to the screen: a move costs one transform and no rendering.
      if (card.current) card.current.style.transform = `translate3d(${String(x)}px, ${String(y)}px, 0) rotate(-2deg)`;
    };
    if (lifted.by === 'pointer') return session.track.follow((x, y) => put(x - GRIP.x, y - GRIP.y));
    const hover = () => {
      const spot = spotFor(session.drag.getState().target);
      if (spot) put(spot.x, spot.y);
    };
    hover();
    return session.drag.subscribe((state, before) => {
      if (state.target !== before.target) hover();
    });
  }, [lifted, session]);

  return (
    <div ref={card} className={styles.card} data-by={lifted.by} aria-hidden="true">
      <TemplateTile id={lifted.template.id} title={title} />
      <span>
        <b>{title}</b>
        <small>
          {words.t('shelf.spec', { vcpus: lifted.request.vcpus, memory: lifted.request.memory_mib })}
        </small>
      </span>
    </div>
  );
}

/** Beside the vessel that the arrow keys have reached, which is brought into sight; over the middle of the map for open water. */
function spotFor(target: { kind: string; id?: string }): { x: number; y: number } | undefined {
  const selector = target.id === undefined ? 'main' : `[data-machine-id="${CSS.escape(target.id)}"]`;
  const element = document.querySelector(selector);
  if (!element) return undefined;
  if (target.id !== undefined) element.scrollIntoView({ block: 'nearest' });
  const box = element.getBoundingClientRect();
  return target.id === undefined
    ? { x: box.left + box.width / 2 - 110, y: box.bottom - 150 }
    : { x: box.left + Math.min(box.width * 0.4, 90), y: Math.max(box.top - 34, 60) };
}
