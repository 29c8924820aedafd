import { defineConfig } from 'vitest/config'

/** Tests that start real processes or a browser: two at once would fight over two cores and over each other's timing. */
const HEAVY = ['test/e2e/**/*.test.ts', 'test/browser/**/*.test.ts']

/** Of them those whose trainers take a core each and wait for nothing but their ends: two at once take half the time. */
const NIGHTS = ['trainer', 'trainer-trouble', 'learning/change', 'learning/drift'].map((name) => `test/e2e/${name}.test.ts`)

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    pool: 'forks',
    hookTimeout: 60_000,
    // A wait for an event ends with the event; on a busy machine that may take a while.
    expect: { poll: { timeout: 20_000 } },
    reporters: process.env.CI ? ['default', './test/closing-line.ts'] : ['default'],
    projects: [
      {
        extends: true,
        test: {
          name: 'rooms',
          include: ['test/**/*.test.ts'],
          exclude: HEAVY,
          maxWorkers: 2,
          testTimeout: 30_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: { name: 'processes', include: HEAVY, exclude: NIGHTS, maxWorkers: 1, testTimeout: 120_000, sequence: { groupOrder: 1 } },
      },
      {
        extends: true,
        test: { name: 'nights', include: NIGHTS, maxWorkers: 2, testTimeout: 120_000, sequence: { groupOrder: 2 } },
      },
    ],
  },
})
