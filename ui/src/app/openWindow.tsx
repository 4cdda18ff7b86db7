import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import type { Settings } from '../api/generated/contract';
import { resolveLanguage, startWords } from '../i18n';
import type { Platform } from '../platform';
import { SessionProvider, startSession, type Session } from '../session';
import '../styles/base.css';
import { App } from './App';

const FACTORY: Settings = { theme: 'system', language: null };

/** Opens the window over a platform: settings first, so that nothing is drawn in the wrong colour or language. */
export async function openWindow(platform: Platform): Promise<Session> {
  // A window that cannot read its settings still opens; the pool's state will say what is wrong.
  const settings = await platform.call('settings_get', {}).catch(() => FACTORY);
  await startWords(resolveLanguage(settings.language, navigator.languages));
  const session = startSession(platform, settings);
  const root = document.getElementById('root');
  if (!root) throw new Error('the page has no root element');
  createRoot(root).render(
    <StrictMode>
      <SessionProvider session={session}>
        <App />
      </SessionProvider>
    </StrictMode>,
  );
  return session;
}
