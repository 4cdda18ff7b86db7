import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of the repository. */
export const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

/** A program of this workspace, as cargo builds it. */
export function programPath(name: string): string {
  const target = process.env['CARGO_TARGET_DIR'] ?? join(ROOT, 'target');
  const path = join(target, 'debug', name);
  if (!existsSync(path)) {
    throw new Error(`${path} is not built: cargo build -p host-runner -p millpond --bins`);
  }
  return path;
}

/** How much of what a program wrote is kept for an error message. */
const LOG_CHARS_MAX = 16_384;

/** A program that a test started, and that ends with it. */
export class Running {
  private log = '';
  private readonly child: ChildProcess;

  private constructor(
    readonly name: string,
    program: string,
    args: readonly string[],
    env: NodeJS.ProcessEnv,
  ) {
    this.child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        this.log = (this.log + chunk.toString()).slice(-LOG_CHARS_MAX);
      });
    }
  }

  /** Starts a program and waits until `ready` answers with something. */
  static async start<Ready>(
    name: string,
    program: string,
    args: readonly string[],
    env: NodeJS.ProcessEnv,
    ready: (log: string) => Ready | undefined | Promise<Ready | undefined>,
  ): Promise<[Running, Ready]> {
    const running = new Running(name, program, args, env);
    const found = await eventually(`${name} to be up`, async () => {
      if (running.child.exitCode !== null) throw new Error(`${name} ended:\n${running.log}`);
      return ready(running.log);
    });
    return [running, found];
  }

  /** Ends it and everything that it started, at once: as a machine that loses its power. */
  async cut(): Promise<void> {
    const all = this.child.pid === undefined ? [] : descendants(this.child.pid);
    await this.stop();
    for (const pid of all) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended with its parent.
      }
    }
  }

  /** Asks it to end, and makes it after a while. */
  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => this.child.once('exit', () => resolve()));
    this.child.kill('SIGTERM');
    const force = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(force);
  }
}

/** Everything that a process started and that they started, from /proc. */
function descendants(pid: number): number[] {
  const parents = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        // The name in parentheses may contain anything; the parent is the second field after it.
        const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
        return [{ pid: Number(name), parent: Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) }];
      } catch {
        return [];
      }
    });
  const below = (of: number): number[] =>
    parents.filter((one) => one.parent === of).flatMap((one) => [one.pid, ...below(one.pid)]);
  return below(pid);
}

/** Waits for something to come true, and says what did not. */
export async function eventually<Value>(
  what: string,
  look: () => Promise<Value | undefined> | Value | undefined,
  deadlineMs = 30_000,
): Promise<Value> {
  const deadline = Date.now() + deadlineMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`waited ${String(deadlineMs)} ms for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
