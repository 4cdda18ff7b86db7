import { choosePlatform } from './platform';
import { openWindow } from './app/openWindow';

await openWindow(choosePlatform());
