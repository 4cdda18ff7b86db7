import { Channel, invoke } from '@tauri-apps/api/core';

import type { CommandResults, Opening, WindowEvent } from '../api/generated/contract';
import {
  refusalFrom,
  type CommandArgs,
  type CommandName,
  type CommandRefused,
  type ConsoleListener,
  type ConsoleStream,
  type EventListener,
  type Platform,
} from './platform';

/** The window inside the app. */
export function tauriPlatform(): Platform {
  return { brought: brought(), call, subscribe, openConsole, drawn };
}

/** The app writes it into the page as the page is asked for, so that the first frame is of the pool as it is. */
function brought(): Opening | undefined {
  const written = document.getElementById('opening')?.textContent;
  return written ? (JSON.parse(written) as Opening) : undefined;
}

async function call<Name extends CommandName>(
  name: Name,
  args: CommandArgs<Name>,
): Promise<CommandResults[Name]> {
  const requestId = crypto.randomUUID();
  try {
    return await invoke<CommandResults[Name]>('call', {
      call: { request_id: requestId, command: { name, args } },
    });
  } catch (thrown) {
    throw refusalFrom(thrown, requestId);
  }
}

function subscribe(listener: EventListener): () => void {
  let listening = true;
  const channel = new Channel<WindowEvent>((event) => {
    if (listening) listener.onEvent(event);
  });
  invoke('subscribe', { channel }).catch(() => {
    if (listening) listener.onLost();
  });
  return () => {
    listening = false;
  };
}

function openConsole(machine: string, instance: string, listener: ConsoleListener): ConsoleStream {
  const requestId = crypto.randomUUID();
  let closed = false;
  const end = (refusal?: CommandRefused) => {
    if (closed) return;
    closed = true;
    listener.onClose(refusal);
  };
  const channel = new Channel<ArrayBuffer | number[]>((piece) => {
    if (closed) return;
    const bytes = piece instanceof ArrayBuffer ? new Uint8Array(piece) : Uint8Array.from(piece);
    // An empty piece is the last one.
    if (bytes.length === 0) end();
    else listener.onData(bytes);
  });
  const opened = invoke<number>('console_open', { machine, instance, requestId, channel });
  opened.catch((thrown: unknown) => end(refusalFrom(thrown, requestId)));
  const encoder = new TextEncoder();
  // Keys go through one chain: two invokes may overtake each other.
  let sent: Promise<unknown> = opened;
  return {
    write: (text) => {
      const data = Array.from(encoder.encode(text));
      sent = sent.then(async () => invoke('console_write', { console: await opened, data })).catch(() => end());
    },
    close: () => {
      closed = true;
      void opened.then(
        (console) => invoke('console_close', { console }),
        () => undefined,
      );
    },
  };
}

function drawn(): void {
  void invoke('window_drawn').catch(() => undefined);
}
