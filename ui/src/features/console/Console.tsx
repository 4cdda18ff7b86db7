import { useEffect, useRef, useState } from 'react';

import type { Instance, PoolMachine } from '../../api/generated/contract';
import { consoleBlocked } from '../../domain/actions';
import { errorWords } from '../../domain/errors';
import { useWords } from '../../i18n/useWords';
import type { CommandRefused, ConsoleStream } from '../../platform';
import { Button } from '../../primitives/Button';
import { useSession } from '../../session';
import styles from './Console.module.css';
import { openScreen, type Screen } from './screen';

/** How often a closed console is opened again by itself while its guest runs, and how long it waits before the first time. */
const TRIES_MAX = 5;
const TRY_AFTER_MS = 800;

/** A guest's serial console. Leaving it leaves the guest as it is. */
export function Console({ machine, instance }: { machine: PoolMachine; instance: Instance }) {
  const words = useWords();
  const why = consoleBlocked(instance, machine.link);
  // Kept while the guest stops, so that the last words on its console stay readable.
  const [opened, setOpened] = useState(false);
  if (why !== undefined && !opened) return <p className={styles.off}>{words.say(why)}</p>;
  return (
    <LiveConsole
      machine={machine.id}
      instance={instance.id}
      name={instance.spec.name}
      runs={why === undefined}
      onOpened={() => setOpened(true)}
    />
  );
}

interface LiveConsoleProps {
  machine: string;
  instance: string;
  name: string;
  runs: boolean;
  onOpened: () => void;
}

type State =
  | { readonly is: 'connecting' }
  | { readonly is: 'open' }
  | { readonly is: 'closed'; readonly refusal: CommandRefused | undefined };

const CONNECTING: State = { is: 'connecting' };
const OPEN: State = { is: 'open' };

function LiveConsole({ machine, instance, name, runs, onOpened }: LiveConsoleProps) {
  const session = useSession();
  const words = useWords();
  const dark = session.settings.store((state) => state.dark);
  const host = useRef<HTMLDivElement>(null);
  const leave = useRef<HTMLSpanElement>(null);
  const screen = useRef<Screen | undefined>(undefined);
  const [state, setState] = useState<State>(CONNECTING);
  const [attempt, setAttempt] = useState(0);
  const label = words.t('console.label', { name });

  // Each attempt has a screen of its own: a machine replays the console's past to every newcomer.
  useEffect(() => {
    if (!host.current) return;
    const held: { stream?: ConsoleStream } = {};
    const opened = openScreen(host.current, {
      label,
      dark: session.settings.store.getState().dark,
      onTyped: (text) => held.stream?.write(text),
      onLeave: () => leave.current?.focus(),
    });
    screen.current = opened;
    held.stream = session.platform.openConsole(machine, instance, {
      onData: (bytes) => {
        opened.write(bytes);
        setState(OPEN);
        onOpened();
      },
      onClose: (refusal) => setState({ is: 'closed', refusal }),
    });
    return () => {
      held.stream?.close();
      opened.dispose();
      screen.current = undefined;
    };
    // `onOpened` notes a fact; a new function for it is no reason to open the console anew.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [session, machine, instance, label, attempt]);

  useEffect(() => screen.current?.paint(dark), [dark]);

  const again = () => {
    setState(CONNECTING);
    setAttempt((count) => count + 1);
  };
  const retries = state.is === 'closed' && runs && attempt < TRIES_MAX;
  useEffect(() => {
    if (!retries) return;
    const timer = setTimeout(again, TRY_AFTER_MS * 2 ** attempt);
    return () => clearTimeout(timer);
  }, [retries, attempt]);

  return (
    <div className={styles.console}>
      <div className={styles.screen} data-testid="console" ref={host} />
      <footer className={styles.foot}>
        <span role="status">
          {words.t(`console.${state.is}`)}{' '}
          {state.is === 'closed' && state.refusal && errorWords(state.refusal.error, words).cause}
        </span>
        {state.is === 'closed' && (
          <Button kind="quiet" onClick={again}>
            {words.t('console.again')}
          </Button>
        )}
        <span className={styles.hint} ref={leave} tabIndex={-1}>
          {words.t('console.leave')}
        </span>
      </footer>
    </div>
  );
}
