import { create, type StoreApi, type UseBoundStore } from 'zustand';

import type { Settings, ThemeChoice } from '../api/generated/contract';
import { resolveLanguage, speak } from '../i18n';
import type { Platform } from '../platform';

/** What was chosen for the window, and the ink that follows from it. */
export interface SettingsState {
  readonly settings: Settings;
  readonly dark: boolean;
}

export type SettingsStore = UseBoundStore<StoreApi<SettingsState>>;

/** Shows and keeps the window's settings. */
export interface SettingsKeeper {
  readonly store: SettingsStore;
  /** Chooses; the window follows at once, and keeps it even if it could not be written down. */
  readonly choose: (change: Partial<Settings>) => Promise<void>;
}

/** Shows the settings in the document, and follows the system where they say so. */
export function settingsKeeper(platform: Pick<Platform, 'call'>, initial: Settings): SettingsKeeper {
  const system = window.matchMedia('(prefers-color-scheme: dark)');
  const store = create<SettingsState>(() => ({ settings: initial, dark: isDark(initial.theme, system.matches) }));
  const paint = () => {
    const dark = isDark(store.getState().settings.theme, system.matches);
    document.documentElement.dataset['theme'] = dark ? 'dark' : 'light';
    if (dark !== store.getState().dark) store.setState({ dark });
  };
  system.addEventListener('change', paint);
  paint();
  return {
    store,
    choose: async (change) => {
      const settings = { ...store.getState().settings, ...change };
      store.setState({ settings });
      paint();
      await speak(resolveLanguage(settings.language, navigator.languages));
      await platform.call('settings_set', { settings });
    },
  };
}

function isDark(theme: ThemeChoice, systemDark: boolean): boolean {
  return theme === 'system' ? systemDark : theme === 'dark';
}
