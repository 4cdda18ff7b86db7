import { render } from '@testing-library/react';
import userEvent from '@testing-library/user-event';

import { App } from '../app/App';
import { SCENES } from '../platform/testing/scenes';
import { ScriptedPlatform, type Script } from '../platform/testing/scripted';
import { SessionProvider, startSession } from '../session';

/** The window over a scripted pool, in light and in English; its session must be ended. */
export function openScene(scene: string, script: Partial<Script> = {}) {
  const make = SCENES[scene];
  if (!make) throw new Error(`there is no scene ${scene}`);
  const platform = new ScriptedPlatform({ picture: make(), ...script });
  const session = startSession(platform, { theme: 'light', language: 'en', placement: 'spread' });
  render(
    <SessionProvider session={session}>
      <App />
    </SessionProvider>,
  );
  return { platform, session, user: userEvent.setup() };
}
