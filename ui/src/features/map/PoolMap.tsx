import { useEffect, useMemo, useRef, type CSSProperties } from 'react';

import { scaleFor, type Scale } from '../../domain/vessel';
import { totalsOf } from '../../domain/pool';
import { useWords } from '../../i18n/useWords';
import { Icon } from '../../primitives/Icon';
import { useSession } from '../../session';
import { moveFocus, keepOneTabStop } from './focus';
import styles from './PoolMap.module.css';
import { Pond } from './Pond';
import { useAim } from './useAim';
import { useRoom } from './useRoom';
import { Vessel } from './Vessel';

/** So few machines stand in the middle of the map. */
const FEW = 3;

/** The pool as a picture: every machine a vessel on one ground line, with open water all around. */
export function PoolMap() {
  const session = useSession();
  const words = useWords();
  const map = useRef<HTMLElement>(null);
  const order = session.pool((state) => state.pool.order);
  const read = session.pool((state) => state.read);
  const largest = session.pool((state) => {
    let most = 0;
    for (const { host } of state.pool.machines.values()) most = Math.max(most, host?.memory_offered_mib ?? 0);
    return most;
  });
  const room = useRoom(map);
  const scale = useMemo(() => scaleFor(order.length, room), [order.length, room]);
  useAim(map);

  useEffect(() => {
    if (map.current) keepOneTabStop(map.current);
  }, [order]);

  useEffect(() => {
    const keepInSight = () => {
      const { selection } = session.view.getState();
      const { places } = session.pool.getState().pool;
      const id = selection.kind === 'machine' ? selection.id : selection.kind === 'instance' ? places.get(selection.id) : undefined;
      if (id === undefined) return;
      map.current?.querySelector(`[data-machine-id="${CSS.escape(id)}"]`)?.scrollIntoView({ block: 'nearest' });
    };
    keepInSight();
    return session.view.subscribe((state, before) => {
      if (state.selection !== before.selection) keepInSight();
    });
    // A panel that grew takes the map's room: what is chosen may have moved.
  }, [session, scale, room]);

  const vessels = useMemo(
    () => order.map((id) => <Vessel key={id} id={id} scale={scale} largest={largest} />),
    [order, scale, largest],
  );

  return (
    <main
      ref={map}
      className={styles.map}
      data-scale={scale.name}
      data-few={order.length <= FEW}
      aria-label={words.t('map.region')}
      style={sizes(scale)}
    >
      <Pond />
      <OpenWater />
      <div className={styles.content}>
        <MapTitle />
        <p className="visually-hidden" id="map-help">
          {words.t('map.help')}
        </p>
        {read && order.length === 0 && <EmptyPool />}
        {/* The list is one stop of the Tab key; arrows move within it. */}
        {/* eslint-disable-next-line jsx-a11y/no-noninteractive-element-interactions */}
        <ul
          className={styles.row}
          aria-label={words.t('map.title')}
          aria-describedby="map-help"
          onKeyDown={moveFocus}
        >
          {vessels}
          {read && <AddVessel />}
        </ul>
      </div>
    </main>
  );
}

function sizes(scale: Scale): CSSProperties {
  return { '--vessel-width': `${scale.vesselWidth}px`, '--gap': `${scale.gap}px` } as CSSProperties;
}

function MapTitle() {
  const session = useSession();
  const words = useWords();
  const machines = session.pool((state) => state.pool.order.length);
  const running = session.pool((state) => totalsOf(state.pool).running);
  if (machines === 0) return null;
  return (
    <div className={styles.shore}>
      <h2>{words.t('map.title')}</h2>
      <span>{words.t('map.summary', { count: machines })}</span>
      <span>{running === 0 ? words.t('map.running.none') : words.t('map.running', { count: running })}</span>
    </div>
  );
}

function AddVessel() {
  const session = useSession();
  const words = useWords();
  return (
    <li className={styles.add}>
      <button type="button" onClick={() => session.view.getState().openDialog({ kind: 'add_machine' })}>
        <Icon name="plus" size={20} />
        <b>{words.t('map.add')}</b>
        <small>{words.t('map.add.line')}</small>
      </button>
    </li>
  );
}

function EmptyPool() {
  const words = useWords();
  return (
    <div className={styles.empty}>
      <h2>{words.t('map.empty.title')}</h2>
      <p>{words.t('map.empty.line')}</p>
    </div>
  );
}

/** The card in the hand is about to cover the map's upper edge, in CSS pixels from it. */
const NEAR_TOP_PX = 130;

/** During a drag, what letting go over no machine in particular does; at the top, and out of the card's way at the bottom. */
function OpenWater() {
  const session = useSession();
  const words = useWords();
  const shown = session.drag((state) => state.lifted !== undefined && state.preview !== undefined);
  const aimed = session.drag((state) => state.target.kind === 'water');
  const none = session.drag((state) => state.preview?.best === null);
  const pill = useRef<HTMLParagraphElement>(null);
  useEffect(() => {
    if (!shown) return;
    const top = pill.current?.closest('main')?.getBoundingClientRect().top ?? 0;
    return session.track.follow((_x, y) => {
      const low = String(y - top < NEAR_TOP_PX);
      // Written only when it changes: a move of the pointer costs nothing else here.
      if (pill.current && pill.current.dataset['low'] !== low) pill.current.dataset['low'] = low;
    });
  }, [shown, session.track]);
  if (!shown) return null;
  return (
    <div className={styles.open}>
      <p ref={pill} data-aimed={aimed} data-none={none}>
        {words.t(none ? 'map.water.none' : 'map.water')}
      </p>
    </div>
  );
}
