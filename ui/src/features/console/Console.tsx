import { useEffect, useRef, useState, type RefObject } from 'react';
import { FitAddon } from '@xterm/addon-fit';
import { Terminal, type ITheme } from '@xterm/xterm';
import '@xterm/xterm/css/xterm.css';

import type { Instance, PoolMachine } from '../../api/generated/contract';
import { consoleBlocked } from '../../domain/actions';
import { useWords } from '../../i18n/useWords';
import { Button } from '../../primitives/Button';
import type { ConsoleStream } from '../../platform';
import { useSession } from '../../session';
import styles from './Console.module.css';

const DARK: ITheme = {
  background: '#0b1417',
  foreground: '#d7e6e6',
  cursor: '#5cc3cc',
  selectionBackground: '#2a5a61',
};
const LIGHT: ITheme = {
  background: '#fbfdfd',
  foreground: '#12262b',
  cursor: '#0d6a74',
  cursorAccent: '#ffffff',
  selectionBackground: '#bfe0e2',
  black: '#12262b',
  red: '#a83c25',
  green: '#1f7551',
  yellow: '#7d5208',
  blue: '#2f5985',
  magenta: '#653f66',
  cyan: '#0d6a74',
  white: '#5c727a',
  brightBlack: '#47606a',
  brightRed: '#bf4a2a',
  brightGreen: '#2d8a62',
  brightYellow: '#96650f',
  brightBlue: '#3b6fa5',
  brightMagenta: '#7d4f7e',
  brightCyan: '#128490',
  brightWhite: '#12262b',
};

/** How often a closed console is opened again by itself while its guest runs, and how long it waits in between. */
const TRIES_MAX = 5;
const TRY_AFTER_MS = 800;

type State = 'connecting' | 'open' | 'closed';

/** A guest's serial console. Leaving it leaves the guest as it is. */
export function Console({ machine, instance }: { machine: PoolMachine; instance: Instance }) {
  const words = useWords();
  const why = consoleBlocked(instance, machine.link);
  // The choice is kept while the guest stops, so that the last words of its console stay readable.
  const [opened, setOpened] = useState(false);
  const open = why === undefined || opened;
  if (!open) return <p className={styles.off}>{words.say(why)}</p>;
  return (
    <LiveConsole
      key={`${machine.id}/${instance.id}`}
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

function LiveConsole({ machine, instance, name, runs, onOpened }: LiveConsoleProps) {
  const session = useSession();
  const words = useWords();
  const dark = session.settings.store((state) => state.dark);
  const host = useRef<HTMLDivElement>(null);
  const leave = useRef<HTMLSpanElement>(null);
  const terminal = useTerminal(host, leave, words.t('console.label', { name }));
  const [state, setState] = useState<State>('connecting');
  const [attempt, setAttempt] = useState(0);

  useEffect(() => {
    if (terminal) terminal.options.theme = dark ? DARK : LIGHT;
  }, [terminal, dark]);

  useEffect(() => {
    if (!terminal) return;
    // The machine replays the console's past to each newcomer: what is shown already would be shown twice.
    terminal.reset();
    const stream: ConsoleStream = session.platform.openConsole(machine, instance, {
      onData: (bytes) => {
        terminal.write(bytes);
        setState('open');
        onOpened();
      },
      onClose: () => setState('closed'),
    });
    const typed = terminal.onData((text) => stream.write(text));
    return () => {
      typed.dispose();
      stream.close();
    };
    // `onOpened` only notes a fact; a new one is no reason to open the console anew.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [terminal, session.platform, machine, instance, attempt]);

  useEffect(() => {
    if (state !== 'closed' || !runs || attempt >= TRIES_MAX) return;
    const timer = setTimeout(() => {
      setState('connecting');
      setAttempt((count) => count + 1);
    }, TRY_AFTER_MS * 2 ** attempt);
    return () => clearTimeout(timer);
  }, [state, runs, attempt]);

  return (
    <div className={styles.console}>
      <div className={styles.screen} data-testid="console" ref={host} />
      <footer className={styles.foot}>
        <span role="status">{words.t(`console.${state}`)}</span>
        {state === 'closed' && (
          <Button
            kind="quiet"
            onClick={() => {
              setState('connecting');
              setAttempt((count) => count + 1);
            }}
          >
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

/** A terminal in `host` that keeps to its size. Ctrl+Shift+Escape moves the focus out of it to `leave`. */
function useTerminal(
  host: RefObject<HTMLDivElement | null>,
  leave: RefObject<HTMLElement | null>,
  label: string,
): Terminal | undefined {
  const [terminal, setTerminal] = useState<Terminal | undefined>(undefined);
  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const made = new Terminal({
      fontFamily: getComputedStyle(document.documentElement).getPropertyValue('--mono'),
      fontSize: 12.5,
      lineHeight: 1.2,
      cursorBlink: !window.matchMedia('(prefers-reduced-motion: reduce)').matches,
      scrollback: 5000,
      screenReaderMode: true,
    });
    const fit = new FitAddon();
    made.loadAddon(fit);
    made.open(element);
    made.textarea?.setAttribute('aria-label', label);
    // A terminal takes Tab and Escape for itself; this is the way out.
    made.attachCustomKeyEventHandler((event) => {
      if (event.key !== 'Escape' || !event.ctrlKey || !event.shiftKey) return true;
      if (event.type === 'keydown') leave.current?.focus();
      return false;
    });
    const observer = new ResizeObserver(() => fit.fit());
    observer.observe(element);
    made.focus();
    setTerminal(made);
    return () => {
      observer.disconnect();
      made.dispose();
      setTerminal(undefined);
    };
  }, [host, leave, label]);
  return terminal;
}
