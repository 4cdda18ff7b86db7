import type { Platform } from './platform';

export * from './platform';

/** The platform that this window runs on. */
export async function choosePlatform(): Promise<Platform> {
  if ('__TAURI_INTERNALS__' in window) return (await import('./tauri')).tauriPlatform();
  return (await import('./http')).httpPlatform();
}
