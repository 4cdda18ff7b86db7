import i18next, { type i18n, type PostProcessorModule } from 'i18next';
import { initReactI18next } from 'react-i18next';

import { formatMib } from '../domain/format';
import { en, type Catalogue } from './en';
import { zhCN } from './zh-CN';

/** The window's languages, each named in itself. */
export const LANGUAGES = [
  { tag: 'en', name: 'English' },
  { tag: 'zh-CN', name: '简体中文' },
] as const;

export type LanguageTag = (typeof LANGUAGES)[number]['tag'];

/** The language for a choice and, where there is none, for the system's preferences. */
export function resolveLanguage(chosen: string | null, preferred: readonly string[]): LanguageTag {
  for (const tag of chosen === null ? preferred : [chosen]) {
    if (tag.toLowerCase().startsWith('zh')) return 'zh-CN';
    if (tag.toLowerCase().startsWith('en')) return 'en';
  }
  return 'en';
}

/**
 * Every language's words, all of them at hand. One that had to be read first would come a moment after the page: its first frame would
 * be blank.
 */
const CATALOGUES: Readonly<Record<LanguageTag, Catalogue>> = { en, 'zh-CN': zhCN };

const GAP = /(?<=\p{Script=Han}) +(?=\p{Script=Han})/gu;

/**
 * Sentences leave room around a name that is put in, as Chinese does around Latin letters; around a Chinese name there is none. Where a
 * name itself has such a gap, it stays as its owner wrote it.
 */
const closeGaps: PostProcessorModule = {
  type: 'postProcessor',
  name: 'close-gaps',
  process: (text: string, _key, values: Readonly<Record<string, unknown>>) => {
    const written = Object.values(values).some((value) => typeof value === 'string' && value.search(GAP) >= 0);
    return written ? text : text.replace(GAP, '');
  },
};

/** Starts the words of one language. */
export async function startWords(language: LanguageTag): Promise<i18n> {
  await i18next.use(initReactI18next).use(closeGaps).init({
    lng: language,
    fallbackLng: 'en',
    resources: { en: { translation: en }, [language]: { translation: CATALOGUES[language] } },
    keySeparator: false,
    nsSeparator: false,
    // React escapes what it renders; escaping twice would show entities.
    interpolation: { escapeValue: false },
    returnNull: false,
    postProcess: closeGaps.name,
    showSupportNotice: false,
  });
  i18next.services.formatter?.add('mib', (value: unknown, tag) => formatMib(Number(value), tag));
  document.documentElement.lang = language;
  return i18next;
}

/** Changes the language of the running window. */
export async function speak(language: LanguageTag): Promise<void> {
  i18next.addResourceBundle(language, 'translation', CATALOGUES[language]);
  await i18next.changeLanguage(language);
  document.documentElement.lang = language;
}
