import type { CommandResults, WindowEvent } from '../api/generated/contract';
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

/** Keys typed before the console is open; more than anybody types in that time. */
const EARLY_KEYS_MAX = 4096;

/** The window in a browser, served by the development server over the same command router. */
export function httpPlatform(): Platform {
  return { brought: undefined, call, subscribe, openConsole, drawn: () => undefined };
}

async function call<Name extends CommandName>(
  name: Name,
  args: CommandArgs<Name>,
): Promise<CommandResults[Name]> {
  const requestId = crypto.randomUUID();
  let answer: unknown;
  try {
    const response = await fetch('/api/call', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-request-id': requestId },
      body: JSON.stringify({ request_id: requestId, command: { name, args } }),
    });
    answer = await response.json();
    if (response.ok) return answer as CommandResults[Name];
  } catch (thrown) {
    throw refusalFrom(thrown, requestId);
  }
  throw refusalFrom(answer, requestId);
}

function subscribe(listener: EventListener): () => void {
  const source = new EventSource('/api/events');
  source.onmessage = (message: MessageEvent<string>) => listener.onEvent(JSON.parse(message.data) as WindowEvent);
  source.onerror = () => listener.onLost();
  return () => source.close();
}

function openConsole(machine: string, instance: string, listener: ConsoleListener): ConsoleStream {
  const requestId = crypto.randomUUID();
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const path = `/api/console/${machine}/${instance}?request_id=${requestId}`;
  const socket = new WebSocket(`${scheme}://${location.host}${path}`);
  socket.binaryType = 'arraybuffer';
  const encoder = new TextEncoder();
  let early = '';
  let refusal: CommandRefused | undefined;
  socket.onopen = () => {
    if (early !== '') socket.send(encoder.encode(early));
    early = '';
  };
  socket.onmessage = (message: MessageEvent<ArrayBuffer | string>) => {
    // The only text is the reason why the console was not opened.
    if (typeof message.data === 'string') refusal = refusalFrom(JSON.parse(message.data), requestId);
    else listener.onData(new Uint8Array(message.data));
  };
  socket.onclose = () => listener.onClose(refusal);
  return {
    write: (text) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(encoder.encode(text));
      else if (early.length + text.length <= EARLY_KEYS_MAX) early += text;
    },
    close: () => {
      socket.onclose = null;
      socket.onmessage = null;
      socket.close();
    },
  };
}
