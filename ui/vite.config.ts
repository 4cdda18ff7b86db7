import react from '@vitejs/plugin-react';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

/**
 * Makes the first frame the right one: none is drawn before the script has run, and the fonts are on their way before the first
 * layout asks for them, which would otherwise look for substitutes.
 */
function firstFrame(): Plugin {
  return {
    name: 'first-frame',
    transformIndexHtml: {
      order: 'post',
      handler: (html, { bundle = {} }) => ({
        html: html.replace('<script type="module"', '<script type="module" blocking="render"'),
        tags: Object.keys(bundle)
          .filter((file) => file.endsWith('.woff2'))
          .map((file) => ({
            tag: 'link',
            attrs: { rel: 'preload', as: 'font', type: 'font/woff2', crossorigin: true, href: `./${file}` },
            injectTo: 'head-prepend' as const,
          })),
      }),
    },
  };
}

/**
 * `vite build` makes the window; `vite build --mode testing` makes the page that shows it over a scripted pool,
 * for pictures and for the drag benchmark. The product's bundle never contains the scripted pool.
 */
export default defineConfig(({ mode }) => ({
  plugins: [react(), firstFrame()],
  // Relative addresses work under Tauri's own protocol and under the development server alike.
  base: './',
  build: {
    target: 'es2022',
    // Every engine that the window runs in preloads modules itself; the substitute would fetch, which the policy forbids.
    modulePreload: { polyfill: false },
    outDir: mode === 'testing' ? 'dist-testing' : 'dist',
    emptyOutDir: true,
    chunkSizeWarningLimit: 900,
    rollupOptions: { input: mode === 'testing' ? 'testing.html' : 'index.html' },
  },
  test: {
    environment: 'jsdom',
    include: ['src/**/*.test.{ts,tsx}'],
    setupFiles: ['src/testing/setup.ts'],
    css: false,
  },
}));
