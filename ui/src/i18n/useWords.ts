import { useMemo } from 'react';
import { useTranslation } from 'react-i18next';

import type { Message, MessageValues } from '../domain/message';
import type { MessageKey } from './en';

/** The catalogue, typed: an unknown sentence does not compile. */
export interface Words {
  /** A sentence by its key. `count` picks the plural form. */
  readonly t: (key: MessageKey, values?: MessageValues) => string;
  /** A sentence that a pure rule chose. */
  readonly say: (message: Message) => string;
  /** A sentence whose key is made from data; undefined where the catalogue has none. */
  readonly find: (key: string, values?: MessageValues) => string | undefined;
  /** For numbers and times. */
  readonly locale: string;
}

/** The words of the window in the chosen language. */
export function useWords(): Words {
  const { t: translate, i18n } = useTranslation();
  const locale = i18n.language;
  return useMemo(() => {
    const t = (key: string, values?: MessageValues) => translate(key, { ...values });
    return {
      t,
      say: (message: Message) => t(message.key, message.values),
      find: (key: string, values?: MessageValues) => (i18n.exists(key) ? t(key, values) : undefined),
      locale,
    };
  }, [translate, i18n, locale]);
}
