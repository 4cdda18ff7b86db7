import type { MessageKey } from '../i18n/en';

/** A sentence that has yet to be put into the reader's language: which one, and the facts that go into it. */
export interface Message {
  readonly key: MessageKey;
  readonly values?: MessageValues;
}

/** Facts of a sentence. Sizes are in MiB and are written out by the catalogue's `mib` format. */
export type MessageValues = Readonly<Record<string, string | number>>;
