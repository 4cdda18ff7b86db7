import i18next, { type i18n } from 'i18next';
import { initReactI18next } from 'react-i18next';

import { formatMib } from '../domain/format';
import { en, type Catalogue } from './en';

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

/** A language's words, read from the app's own files once it is spoken: no word waits for a network. */
const CATALOGUES: Readonly<Record<LanguageTag, () => Promise<Catalogue>>> = {
  // The language that all others fall back on is always at hand.
  en: () => Promise.resolve(en),
  'zh-CN': async () => (await import('./zh-CN')).zhCN,
};

/** Starts the words of one language. */
export async function startWords(language: LanguageTag): Promise<i18n> {
  const words = await CATALOGUES[language]();
  await i18next.use(initReactI18next).init({
    lng: language,
    fallbackLng: 'en',
    resources: { en: { translation: en }, [language]: { translation: words } },
    keySeparator: false,
    nsSeparator: false,
    // React escapes what it renders; escaping twice would show entities.
    interpolation: { escapeValue: false },
    returnNull: false,
    showSupportNotice: false,
  });
  i18next.services.formatter?.add('mib', (value: unknown, tag) => formatMib(Number(value), tag));
  document.documentElement.lang = language;
  return i18next;
}

/** Changes the language of the running window. */
export async function speak(language: LanguageTag): Promise<void> {
  i18next.addResourceBundle(language, 'translation', await CATALOGUES[language]());
  await i18next.changeLanguage(language);
  document.documentElement.lang = language;
}
