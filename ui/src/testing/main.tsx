import { openWindow } from '../app/openWindow';
import { SCENES, TEMPLATES } from '../platform/testing/scenes';
import { ScriptedPlatform } from '../platform/testing/scripted';
import type { Settings } from '../api/generated/contract';

/**
 * A page that shows the window over a scripted pool, for pictures and for the drag benchmark:
 * `testing.html?scene=seven&theme=dark&language=zh-CN`. `churn=1` keeps changing one machine, as live usage would.
 */
const query = new URLSearchParams(location.search);
const scene = SCENES[query.get('scene') ?? 'one'] ?? SCENES['one'];
const settings: Settings = {
  theme: query.get('theme') === 'dark' ? 'dark' : 'light',
  language: query.get('language') ?? 'en',
  placement: 'spread',
};
const picture = scene?.() ?? { version: 1, machines: [], instances: [] };
const platform = new ScriptedPlatform({
  picture,
  settings,
  templates: TEMPLATES,
  stepMs: Number(query.get('step') ?? 1200),
  adding: [
    {
      outcome: 'confirm_host_key',
      question: {
        address: 'atlas.local:22',
        key_type: 'ssh-ed25519',
        fingerprint: 'SHA256:uNiVztksCsDhcc0u9e8BrWXfdoEqgR8ZDqsQ3pvEyJk',
      },
    },
    query.get('changed') === '1'
      ? {
          code: 'host_key_changed',
          message: 'the key has changed',
          details: {
            address: 'atlas.local:22',
            key_type: 'ssh-ed25519',
            fingerprint: 'SHA256:uNiVztksCsDhcc0u9e8BrWXfdoEqgR8ZDqsQ3pvEyJk',
            known_hosts_line: 3,
          },
        }
      : { outcome: 'password_needed', user: 'admin', refused: false },
  ],
});
await openWindow(platform);

if (query.get('churn') === '1') {
  let turn = 0;
  setInterval(() => {
    const machine = picture.machines[turn % picture.machines.length];
    turn += 1;
    if (machine?.usage) {
      platform.change({
        machines: [{ ...machine, usage: { ...machine.usage, cpu_percent: (turn * 7) % 100 } }],
      });
    }
  }, 10);
}
