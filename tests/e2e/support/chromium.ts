import { accessSync, constants } from 'node:fs';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** The system's Chromium; `CHROMIUM` names another. Nothing is downloaded. */
export function chromiumPath(): string {
  const named = process.env['CHROMIUM'];
  const found = (named === undefined ? PLACES : [named]).find(isProgram);
  if (found === undefined) {
    throw new Error(`no Chromium at ${named ?? PLACES.join(', ')}: install it, or name it in CHROMIUM`);
  }
  return found;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
