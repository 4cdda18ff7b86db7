import type { ApiError, ErrorCode } from '../api/generated/contract';
import type { MessageValues } from './message';

/** Looks a sentence up; undefined where the catalogue has none. */
export interface Catalogue {
  readonly find: (key: string, values?: MessageValues) => string | undefined;
}

/** An error for people: what happened, and where there is one what to do about it. */
export interface ErrorWords {
  readonly cause: string;
  readonly remedy: string | undefined;
}

/** The facts that each error's sentences are filled with. A host that leaves one out is quoted in its own words instead. */
const FACTS: Readonly<Record<ErrorCode, readonly string[]>> = {
  malformed_request: [],
  body_too_large: [],
  invalid_name: [],
  out_of_range: ['field', 'value', 'min', 'max'],
  no_such_endpoint: [],
  instance_not_found: [],
  image_not_found: ['image'],
  image_corrupt: ['image', 'file'],
  name_taken: ['name'],
  stale_generation: [],
  conflicting_spec: [],
  wrong_state: ['state'],
  insufficient_memory: ['needed_mib', 'free_mib'],
  insufficient_disk: ['needed_mib', 'free_mib'],
  too_many_vcpus: ['needed', 'threads'],
  no_engine: [],
  placement_rule: [],
  engine_failed: [],
  port_taken: ['port'],
  disk_full: ['path'],
  events_lost: [],
  timed_out: [],
  internal: [],
  unreachable: ['address'],
  host_key_unknown: ['address'],
  host_key_changed: ['address', 'known_hosts_line'],
  authentication_failed: ['user'],
  passphrase_needed: ['path'],
  bad_local_file: ['path'],
  agent_missing: [],
  version_mismatch: ['host', 'desktop'],
  protocol_violation: [],
  machine_not_found: [],
  machine_known: ['name'],
  storage: [],
  cancelled: [],
};

/** Every code of the contract, for tests that walk them. */
export const ERROR_CODES = Object.keys(FACTS) as readonly ErrorCode[];

/** Codes whose English message tells more than the code: it is shown beneath the translated cause. */
const TELLS_MORE: readonly ErrorCode[] = [
  'engine_failed',
  'no_engine',
  'placement_rule',
  'internal',
  'malformed_request',
  'bad_local_file',
  'unreachable',
  'protocol_violation',
  'storage',
];

/** An error in the reader's language, from its code and facts; in its host's words where those do not suffice. */
export function errorWords(error: ApiError, words: Catalogue): ErrorWords {
  const complete = FACTS[error.code].every((fact) => error.details[fact] !== undefined);
  if (!complete) return { cause: error.message, remedy: words.find(`error.${error.code}.remedy`) };
  const values = error.details;
  const remedy = words.find(`error.${error.code}.remedy`, values);
  const more = TELLS_MORE.includes(error.code) ? hostsWords(error) : undefined;
  return {
    cause: words.find(`error.${error.code}`, values) ?? error.message,
    remedy: [more, remedy].filter((part) => part !== undefined).join(' ') || undefined,
  };
}

/** What is missing for an engine is the host's to know, and so is what to do about it. */
function hostsWords({ code, message, details }: ApiError): string {
  return code === 'no_engine' && typeof details.remedy === 'string' ? `${message}; ${details.remedy}` : message;
}
