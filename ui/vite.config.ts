import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

/**
 * `vite build` makes the window; `vite build --mode testing` makes the page that shows it over a scripted pool,
 * for pictures and for the drag benchmark. The product's bundle never contains the scripted pool.
 */
export default defineConfig(({ mode }) => ({
  plugins: [react()],
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
