import { lazy, Suspense, useEffect, useLayoutEffect } from 'react';

import { Activity } from '../features/activity/Activity';
import { PoolMap } from '../features/map/PoolMap';
import { Palette } from '../features/palette/Palette';
import { DragCard } from '../features/placement/DragCard';
import { DragVoice } from '../features/placement/DragVoice';
import { WhyPanel } from '../features/placement/WhyPanel';
import { Shelf } from '../features/shelf/Shelf';
import { TopLine } from '../features/top/TopLine';
import { Welcome } from '../features/welcome/Welcome';
import { useWords } from '../i18n/useWords';
import { Announcer } from '../primitives/Announcer';
import { useSession } from '../session';
import styles from './App.module.css';
import { Toasts } from './Toasts';

// What a start does not show is read when it is asked for; but the palette, which takes what is typed from the very next key.
const AddMachine = lazy(async () => ({ default: (await import('../features/machines/AddMachine')).AddMachine }));
const Console = lazy(async () => ({ default: (await import('../features/console/Console')).Console }));
const InstancePanel = lazy(async () => ({ default: (await import('../features/instances/InstancePanel')).InstancePanel }));
const MachinePanel = lazy(async () => ({ default: (await import('../features/machines/MachinePanel')).MachinePanel }));
const PlanPanel = lazy(async () => ({ default: (await import('../features/plans/PlanPanel')).PlanPanel }));
const PoolPlans = lazy(async () => ({ default: (await import('../features/plans/PoolPlans')).PoolPlans }));
const WhatIf = lazy(async () => ({ default: (await import('../features/plans/WhatIf')).WhatIf }));
const NewInstance = lazy(async () => ({ default: (await import('../features/start/NewInstance')).NewInstance }));

/** The window, put together. Features meet here and nowhere else. */
export function App() {
  const session = useSession();
  const wide = session.view(({ selection }) => selection.kind === 'instance' && selection.tab === 'console');
  const read = session.pool((state) => state.read);
  const announced = session.view((state) => state.announced);
  usePaletteKey();

  useLayoutEffect(() => {
    if (!read) return;
    // Twice: the first callback runs before the frame is drawn, the second after it.
    let frame = requestAnimationFrame(() => {
      frame = requestAnimationFrame(() => session.platform.drawn());
    });
    return () => cancelAnimationFrame(frame);
  }, [read, session.platform]);

  return (
    <div className={styles.app} data-wide={wide}>
      <TopLine />
      <Shelf />
      <PoolMap />
      <SidePanel />
      <Activity />
      <DragCard />
      <DragVoice />
      <Suspense fallback={null}>
        <Dialogs />
      </Suspense>
      <Toasts />
      <Announcer text={announced.text} turn={announced.turn} />
    </div>
  );
}

function SidePanel() {
  const session = useSession();
  const words = useWords();
  const selection = session.view((state) => state.selection);
  const dragging = session.drag((state) => state.lifted !== undefined);
  return (
    <aside className={styles.side} aria-label={words.t('side.region')}>
      {/* Covered, not taken away: a console stays open beneath a drag. */}
      <div className={styles.content} hidden={dragging}>
        {selection.kind === 'pool' && <Welcome />}
        <Suspense fallback={null}>
          {selection.kind === 'pool' && <PoolPlans />}
          {selection.kind === 'plan' && <PlanPanel />}
          {selection.kind === 'machine' && <MachinePanel key={selection.id} id={selection.id} />}
          {selection.kind === 'instance' && (
            <InstancePanel
              key={selection.id}
              id={selection.id}
              tab={selection.tab}
              console={(machine, instance) => (
                <Suspense fallback={null}>
                  <Console machine={machine} instance={instance} />
                </Suspense>
              )}
            />
          )}
        </Suspense>
      </div>
      {dragging && <WhyPanel />}
    </aside>
  );
}

function Dialogs() {
  const session = useSession();
  const dialog = session.view((state) => state.dialog);
  switch (dialog?.kind) {
    case 'add_machine':
      return <AddMachine />;
    case 'palette':
      return <Palette />;
    case 'what_if':
      return <WhatIf />;
    case 'new_instance':
      return <NewInstance template={dialog.template} />;
    case undefined:
      return null;
  }
}

/** Ctrl K, and Cmd K on a Mac, from anywhere but a console, where it belongs to the guest. */
function usePaletteKey() {
  const session = useSession();
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() !== 'k' || !(event.ctrlKey || event.metaKey) || event.altKey) return;
      if (event.target instanceof Element && event.target.closest('[data-testid="console"]')) return;
      event.preventDefault();
      session.dragging.cancel();
      session.view.getState().openDialog({ kind: 'palette' });
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, [session]);
}
