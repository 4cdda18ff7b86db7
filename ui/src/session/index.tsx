import { createContext, useContext, type ReactNode } from 'react';
import i18next from 'i18next';

import type { Opening, Settings } from '../api/generated/contract';
import { nameOfMachine } from '../domain/naming';
import type { Platform } from '../platform';
import { activityStore, type ActivityStore } from './activity';
import { dragStore, type DragStore } from './drag';
import { dragging, type Dragging } from './dragging';
import { instanceActions, type Instances } from './instances';
import { planKeeper, type Plans } from './plans';
import { byFrame, poolFeed, type PoolStore } from './pool';
import { recoveryWatch, type RecoveryStore } from './recovery';
import { settingsKeeper, type SettingsKeeper } from './settings';
import { templateStore, type TemplateStore } from './templates';
import { toastStore, type ToastStore } from './toasts';
import { pointerTrack, type Track } from './track';
import { viewStore, type ViewStore } from './view';

/** Everything that one window holds. Made once at the start; its parts are stores and verbs, never markup. */
export interface Session {
  readonly platform: Platform;
  readonly pool: PoolStore;
  readonly activity: ActivityStore;
  readonly templates: TemplateStore;
  readonly toasts: ToastStore;
  readonly view: ViewStore;
  readonly drag: DragStore;
  /** Where a dragged card is. */
  readonly track: Track;
  readonly settings: SettingsKeeper;
  readonly instances: Instances;
  readonly dragging: Dragging;
  readonly plans: Plans;
  /** Whether the failure of any one machine could be borne. */
  readonly recovery: RecoveryStore;
  /** Stops listening. */
  readonly end: () => void;
}

/** Joins the stores to a platform and starts listening; `first` is what is shown until it has been read again. */
export function startSession(platform: Platform, settings: Settings, first?: Opening): Session {
  const feed = poolFeed(platform, byFrame, first?.picture);
  const activity = activityStore(platform);
  const templates = templateStore(platform, first?.templates);
  const toasts = toastStore();
  const view = viewStore();
  const drag = dragStore();
  const instances = instanceActions({ platform, toasts, view, drag });
  const nameOf = (id: string) => {
    const machine = feed.store.getState().pool.machines.get(id);
    return machine ? nameOfMachine(machine, i18next.t('machine.this_computer.within')) : id;
  };
  const readAll = () => {
    void feed.reread();
    void templates.getState().reread();
    // An activity list that cannot be read is an empty one; the pool's own failure says more.
    activity.getState().reread().catch(() => undefined);
  };
  const lifting = dragging({ platform, pool: feed.store, drag, toasts, instances, nameOf });
  const plans = planKeeper({ platform, pool: feed.store, view });
  const recovery = recoveryWatch(platform, feed.store);
  const unsubscribe = platform.subscribe({
    onEvent: (event) => {
      switch (event.kind) {
        case 'pool':
          feed.change(event.change);
          break;
        case 'activity':
          activity.getState().add(event.entry);
          break;
        case 'read_again':
          readAll();
          break;
      }
    },
    onLost: feed.lost,
  });
  return {
    platform,
    pool: feed.store,
    activity,
    templates,
    toasts,
    view,
    drag,
    track: pointerTrack(),
    settings: settingsKeeper(platform, settings),
    instances,
    dragging: lifting,
    plans,
    recovery: recovery.store,
    end: () => {
      unsubscribe();
      lifting.end();
      plans.end();
      recovery.end();
    },
  };
}

const SessionContext = createContext<Session | undefined>(undefined);

/** Gives a window's session to its components. */
export function SessionProvider({ session, children }: { session: Session; children: ReactNode }) {
  return <SessionContext value={session}>{children}</SessionContext>;
}

/** The session of this window. */
export function useSession(): Session {
  const session = useContext(SessionContext);
  if (!session) throw new Error('a component outside SessionProvider asked for the session');
  return session;
}

