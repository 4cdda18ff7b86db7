import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, connect } from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';

import { programPath, Running } from './process.ts';

/** A real OpenSSH server on loopback, whose one command joins the client to an agent's socket. */
export class SshServer {
  readonly user = userInfo().username;

  private constructor(
    private process: Running,
    private readonly folder: string,
    private readonly socket: string,
    readonly port: number,
    /** The private key that may log in. */
    readonly identityFile: string,
    /** The host key's fingerprint as `ssh-keygen -lf` prints it. */
    public fingerprint: string,
  ) {}

  static async start(folder: string, agentSocket: string): Promise<SshServer> {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const identityFile = join(folder, 'id_ed25519');
    makeKey(identityFile);
    const port = await freePort();
    const [running, fingerprint] = await launch(folder, agentSocket, port, 'host_key_1');
    return new SshServer(running, folder, agentSocket, port, identityFile, fingerprint);
  }

  async stop(): Promise<void> {
    await this.process.cut();
  }

  /** Ends, and comes back at the same address with another key: as an impostor would. */
  async returnWithAnotherKey(): Promise<void> {
    await this.process.cut();
    [this.process, this.fingerprint] = await launch(this.folder, this.socket, this.port, 'host_key_2');
  }
}

async function launch(folder: string, socket: string, port: number, key: string): Promise<[Running, string]> {
  const hostKey = join(folder, key);
  makeKey(hostKey);
  const config = join(folder, 'sshd_config');
  writeFileSync(
    config,
    [
      `Port ${String(port)}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${hostKey}`,
      `AuthorizedKeysFile ${join(folder, 'id_ed25519.pub')}`,
      `PidFile ${join(folder, 'sshd.pid')}`,
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin yes',
      'AllowStreamLocalForwarding no',
      `ForceCommand ${programPath('host-runner')} --socket ${socket} connect`,
      '',
    ].join('\n'),
  );
  // Debian's sshd insists on its empty folder where it runs as root.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true });
  const [running] = await Running.start('sshd', '/usr/sbin/sshd', ['-D', '-e', '-f', config], process.env, () =>
    answers(port),
  );
  const listed = execFileSync('ssh-keygen', ['-lf', `${hostKey}.pub`]).toString();
  const fingerprint = listed.split(' ')[1];
  if (fingerprint === undefined) throw new Error(`ssh-keygen printed no fingerprint: ${listed}`);
  return [running, fingerprint];
}

function makeKey(path: string): void {
  // What it complains of is part of the error.
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path], { stdio: ['ignore', 'ignore', 'pipe'] });
  readFileSync(`${path}.pub`);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

function answers(port: number): Promise<true | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(undefined));
  });
}
