import { StrictMode } from 'react';
import { flushSync } from 'react-dom';
import { createRoot } from 'react-dom/client';

import type { Settings } from '../api/generated/contract';
import { resolveLanguage, startWords } from '../i18n';
import type { Platform } from '../platform';
import { SessionProvider, startSession, type Session } from '../session';
import '../styles/base.css';
import { App } from './App';

const FACTORY: Settings = { theme: 'system', language: null, placement: 'spread' };

/**
 * Opens the window over a platform. Nothing is drawn before the settings are known, and so nothing in the wrong colour or language;
 * where the page brought its first picture along, the very first frame shows it.
 */
export async function openWindow(platform: Platform): Promise<Session> {
  // A window that gets no answer still opens; the pool's state will say what is wrong.
  const opening = platform.brought ?? (await platform.call('window_open', {}).catch(() => undefined));
  const settings = opening?.settings ?? FACTORY;
  await startWords(resolveLanguage(settings.language, navigator.languages));
  const session = startSession(platform, settings, opening);
  const root = document.getElementById('root');
  if (!root) throw new Error('the page has no root element');
  const window = createRoot(root);
  // At once: a frame without anything would only put off the first one with something.
  flushSync(() =>
    window.render(
      <StrictMode>
        <SessionProvider session={session}>
          <App />
        </SessionProvider>
      </StrictMode>,
    ),
  );
  return session;
}
