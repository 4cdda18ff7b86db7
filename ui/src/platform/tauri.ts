import { Channel, invoke } from '@tauri-apps/api/core';

import type { CommandResults, WindowEvent } from '../api/generated/contract';
import {
  refusalFrom,
  type CommandArgs,
  type CommandName,
  type ConsoleListener,
  type ConsoleStream,
  type EventListener,
  type Platform,
} from './platform';

/** What arrives on a console's channel: bytes, or word that it closed. */
type ConsoleNews = ArrayBuffer | number[] | { readonly closed: true };

/** The window inside the app. */
export function tauriPlatform(): Platform {
  return { call, subscribe, openConsole, drawn };
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
  invoke('subscribe', { channel }).then(
    () => {
      if (listening) listener.onOpen();
    },
    () => {
      if (listening) listener.onLost();
    },
  );
  return () => {
    listening = false;
  };
}

function openConsole(machine: string, instance: string, listener: ConsoleListener): ConsoleStream {
  let closed = false;
  const end = () => {
    if (closed) return;
    closed = true;
    listener.onClose();
  };
  const channel = new Channel<ConsoleNews>((news) => {
    if (closed) return;
    if (news instanceof ArrayBuffer) listener.onData(new Uint8Array(news));
    else if (Array.isArray(news)) listener.onData(Uint8Array.from(news));
    else end();
  });
  const opened = invoke<number>('console_open', { machine, instance, channel });
  opened.catch(end);
  // Keys go through one chain: two invokes may overtake each other.
  let sent: Promise<unknown> = opened;
  return {
    write: (text) => {
      sent = sent.then(async () => invoke('console_write', { id: await opened, data: text })).catch(end);
    },
    close: () => {
      closed = true;
      void opened.then(
        (id) => invoke('console_close', { id }),
        () => undefined,
      );
    },
  };
}

function drawn(): void {
  void invoke('window_drawn').catch(() => undefined);
}
