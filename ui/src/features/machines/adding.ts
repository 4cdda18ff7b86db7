import type { AddMachine, AddMachineOutcome, ApiError, HostKeyQuestion, PoolMachine } from '../../api/generated/contract';

/** The address as typed. */
export interface AddressForm {
  readonly host: string;
  /** Undefined until somebody types one: then it follows the host. */
  readonly name: string | undefined;
  readonly user: string;
  readonly port: string;
  readonly key: string;
}

/** Where adding a machine stands. */
export type AddStage =
  | { readonly at: 'address' }
  | { readonly at: 'connecting'; readonly after: AddStep }
  | { readonly at: 'identity'; readonly question: HostKeyQuestion }
  | { readonly at: 'password'; readonly user: string; readonly refused: boolean }
  | { readonly at: 'passphrase'; readonly path: string; readonly refused: boolean }
  | { readonly at: 'changed'; readonly error: ApiError }
  | { readonly at: 'failed'; readonly error: ApiError }
  | { readonly at: 'added'; readonly machine: PoolMachine };

/** The steps that a person sees. */
export const ADD_STEPS = ['address', 'identity', 'login', 'agent'] as const;
export type AddStep = (typeof ADD_STEPS)[number];

/** The step that a stage belongs to. */
export function stepOf(stage: AddStage): AddStep {
  switch (stage.at) {
    case 'address':
    case 'failed':
      return 'address';
    case 'identity':
    case 'changed':
      return 'identity';
    case 'password':
    case 'passphrase':
      return 'login';
    case 'connecting':
      return stage.after;
    case 'added':
      return 'agent';
  }
}

/** The stage that an answer leads to. */
export function stageAfter(outcome: AddMachineOutcome): AddStage {
  switch (outcome.outcome) {
    case 'added':
      return { at: 'added', machine: outcome.machine };
    case 'confirm_host_key':
      return { at: 'identity', question: outcome.question };
    case 'password_needed':
      return { at: 'password', user: outcome.user, refused: outcome.refused };
    case 'passphrase_needed':
      return { at: 'passphrase', path: outcome.path, refused: outcome.refused };
  }
}

/** The stage that an error leads to. A changed key has a stage of its own, which no answer leads out of. */
export function stageAfterError(error: ApiError): AddStage {
  return error.code === 'host_key_changed' ? { at: 'changed', error } : { at: 'failed', error };
}

/** Whether the port can be used; empty leaves it to SSH. */
export function isPort(text: string): boolean {
  return text === '' || (/^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65_535);
}

/** What to call the machine: what was typed, else the host as it was typed. An address is no name; the machine's own is better. */
export function nameIn({ name, host }: Pick<AddressForm, 'name' | 'host'>): string {
  if (name !== undefined) return name;
  const typed = host.trim();
  return /^[\d.]+$|:/.test(typed) ? '' : typed;
}

/** The request's beginning; undefined while the form lacks something. */
export function addressRequest(form: AddressForm): AddMachine | undefined {
  const host = form.host.trim();
  if (host === '' || !isPort(form.port)) return undefined;
  return {
    address: {
      kind: 'ssh',
      host,
      user: form.user.trim() === '' ? null : form.user.trim(),
      port: form.port === '' ? null : Number(form.port),
      identity_file: form.key.trim() === '' ? null : form.key.trim(),
    },
    name: nameIn(form).trim() === '' ? null : nameIn(form).trim(),
    accepted_fingerprint: null,
    password: null,
    passphrase: null,
  };
}
