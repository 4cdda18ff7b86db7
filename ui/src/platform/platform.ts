import type { ApiError, Command, CommandError, CommandResults, Opening, WindowEvent } from '../api/generated/contract';

/** A command's name. */
export type CommandName = Command['name'];

/** What a command takes. */
export type CommandArgs<Name extends CommandName> = Extract<Command, { name: Name }>['args'];

/** Bytes and news from an open console. */
export interface ConsoleListener {
  readonly onData: (bytes: Uint8Array) => void;
  /** The stream ended, or with a reason could not be opened; nothing follows. */
  readonly onClose: (refusal?: CommandRefused) => void;
}

/** An open console. */
export interface ConsoleStream {
  /** Types into the guest. Text that arrives before the stream is open is kept and sent then. */
  readonly write: (text: string) => void;
  /** Leaves; the guest and its other viewers notice nothing. */
  readonly close: () => void;
}

/** News from the other half of the app. */
export interface EventListener {
  /** Something happened. Whenever the stream opens, the first event says to read everything. */
  readonly onEvent: (event: WindowEvent) => void;
  /** The stream broke; it opens again by itself. */
  readonly onLost: () => void;
}

/**
 * The one seam between the window and whatever is behind it. Nothing outside `src/platform` knows whether that is Tauri or a
 * server.
 */
export interface Platform {
  /** What the page brought along for its first picture, where it did; it saves asking. */
  readonly brought: Opening | undefined;
  /**
   * Asks for something.
   *
   * @throws {CommandRefused} when it was not done.
   */
  call<Name extends CommandName>(name: Name, args: CommandArgs<Name>): Promise<CommandResults[Name]>;
  /** Listens to the pool; the answer ends it. */
  subscribe(listener: EventListener): () => void;
  /** Joins an instance's console. */
  openConsole(machine: string, instance: string, listener: ConsoleListener): ConsoleStream;
  /** Says that the pool has been drawn for the first time. */
  drawn(): void;
}

/** A command that was not done, with the reason. */
export class CommandRefused extends Error {
  readonly error: ApiError;
  readonly machine: string | null;
  readonly requestId: string;

  constructor(refusal: CommandError) {
    super(refusal.error.message);
    this.name = 'CommandRefused';
    this.error = refusal.error;
    this.machine = refusal.machine;
    this.requestId = refusal.request_id;
  }
}

/** Reads what a failed call threw or answered: a refusal as it is, anything else as a break between the app's two halves. */
export function refusalFrom(thrown: unknown, requestId: string): CommandRefused {
  if (thrown instanceof CommandRefused) return thrown;
  if (isCommandError(thrown)) return new CommandRefused(thrown);
  return new CommandRefused({
    error: { code: 'internal', message: describe(thrown), details: {} },
    machine: null,
    request_id: requestId,
  });
}

function describe(thrown: unknown): string {
  if (thrown instanceof Error) return thrown.message;
  return typeof thrown === 'string' ? thrown : 'no answer';
}

function isCommandError(value: unknown): value is CommandError {
  if (typeof value !== 'object' || value === null || !('error' in value) || !('request_id' in value)) return false;
  const { error } = value;
  return typeof error === 'object' && error !== null && 'code' in error && 'message' in error;
}
