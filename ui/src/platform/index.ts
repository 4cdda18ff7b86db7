import { httpPlatform } from './http';
import type { Platform } from './platform';
import { tauriPlatform } from './tauri';

export * from './platform';

/** The platform that this window runs on. */
export function choosePlatform(): Platform {
  return '__TAURI_INTERNALS__' in window ? tauriPlatform() : httpPlatform();
}
