import { cpSync, mkdirSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';

import { IMAGES_VARIABLE } from './image.ts';
import { eventually, programPath, Running } from './process.ts';

/** A real host-runner in folders of its own. */
export class Agent {
  private constructor(
    private readonly process: Running,
    readonly socket: string,
  ) {}

  static async start(folder: string, offerMemoryMib: number): Promise<Agent> {
    const images = process.env[IMAGES_VARIABLE];
    if (images === undefined) throw new Error('the global setup made no image');
    const [state, run] = [join(folder, 'state'), join(folder, 'run')];
    mkdirSync(state, { recursive: true });
    cpSync(images, join(state, 'images'), { recursive: true });
    const socket = join(run, 'api.sock');
    const [running] = await Running.start(
      'host-runner',
      programPath('host-runner'),
      [
        'serve',
        '--state-dir',
        state,
        '--runtime-dir',
        run,
        '--socket',
        socket,
        '--offer-memory-mib',
        String(offerMemoryMib),
      ],
      process.env,
      async () => ((await get(socket, '/v1/host').catch(() => undefined)) === undefined ? undefined : true),
    );
    return new Agent(running, socket);
  }

  /** Deletes every instance, so that no guest outlives the test, then ends. */
  async stop(): Promise<void> {
    for (const id of await this.instances()) await send(this.socket, 'DELETE', `/v1/instances/${id}`);
    await eventually('the guests to be gone', async () => ((await this.instances()).length === 0 ? true : undefined));
    await this.process.stop();
  }

  private async instances(): Promise<string[]> {
    const listed = (await get(this.socket, '/v1/instances')) as { id: string }[];
    return listed.map((instance) => instance.id);
  }
}

function get(socketPath: string, path: string): Promise<unknown> {
  return send(socketPath, 'GET', path);
}

function send(socketPath: string, method: string, path: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, method, path, timeout: 10_000 }, (answer) => {
      let body = '';
      answer.on('data', (chunk: Buffer) => (body += chunk.toString()));
      answer.on('end', () => resolve(body === '' ? null : JSON.parse(body)));
    });
    asked.on('error', reject);
    asked.on('timeout', () => asked.destroy(new Error(`${method} ${path} took too long`)));
    asked.end();
  });
}
