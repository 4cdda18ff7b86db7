import { FitAddon } from '@xterm/addon-fit';
import { Terminal, type ITheme } from '@xterm/xterm';
import '@xterm/xterm/css/xterm.css';

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

/** How much may wait to be drawn. */
const WAITING_BYTES_MAX = 4 * 1024 * 1024;

/** A terminal on the screen. */
export interface Screen {
  readonly write: (bytes: Uint8Array) => void;
  /** Follows the window from light to dark and back. */
  readonly paint: (dark: boolean) => void;
  readonly dispose: () => void;
}

interface ScreenOptions {
  /** Its name, for those who do not see it. */
  readonly label: string;
  readonly dark: boolean;
  readonly onTyped: (text: string) => void;
  /** Ctrl+Shift+Escape: a terminal takes Tab and Escape for itself, so this is the keyboard's way out. */
  readonly onLeave: () => void;
}

/** Opens a terminal in `host` that keeps to its size. */
export function openScreen(host: HTMLElement, { label, dark, onTyped, onLeave }: ScreenOptions): Screen {
  const terminal = new Terminal({
    fontFamily: getComputedStyle(document.documentElement).getPropertyValue('--mono'),
    fontSize: 12.5,
    lineHeight: 1.2,
    cursorBlink: !window.matchMedia('(prefers-reduced-motion: reduce)').matches,
    scrollback: 5000,
    screenReaderMode: true,
    theme: dark ? DARK : LIGHT,
    // What a guest prints is not to be trusted: its links lead nowhere.
    linkHandler: { activate: () => undefined },
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(host);
  terminal.textarea?.setAttribute('aria-label', label);
  terminal.attachCustomKeyEventHandler((event) => {
    if (event.key !== 'Escape' || !event.ctrlKey || !event.shiftKey) return true;
    if (event.type === 'keydown') onLeave();
    return false;
  });
  terminal.onData(onTyped);
  const observer = new ResizeObserver(() => {
    // Covered during a drag it has no size; fitted to none, every line would be broken.
    if (host.clientWidth > 0 && host.clientHeight > 0) fit.fit();
  });
  observer.observe(host);
  // Whoever walks along the tabs by keyboard is not pulled into the terminal.
  if (!document.activeElement?.matches('[role=tab]:focus-visible')) terminal.focus();
  let waiting = 0;
  return {
    write: (bytes) => {
      // A guest that prints faster than can be drawn loses lines; it does not fill the window's memory.
      if (waiting + bytes.length > WAITING_BYTES_MAX) return;
      waiting += bytes.length;
      terminal.write(bytes, () => (waiting -= bytes.length));
    },
    paint: (inDark) => {
      terminal.options.theme = inDark ? DARK : LIGHT;
    },
    dispose: () => {
      observer.disconnect();
      terminal.dispose();
    },
  };
}
