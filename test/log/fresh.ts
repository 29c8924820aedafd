import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { type Clock, createManualClock } from '../../plugin/clock.ts'
import { type LogParts, openLog } from '../../plugin/log/open.ts'
import type { Log } from '../../plugin/log/rows.ts'
import { KEEP_ALL, START_UNIX_MS } from './row.ts'

/** An empty folder that is gone after the test. */
export function freshFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'phasewise-log-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A log in `dataDir`, closed after the test; what it warns of is collected in `warnings`. */
export async function freshLog(parts: { dataDir: string; clock?: Clock; warnings?: string[] } & Partial<LogParts>): Promise<Log> {
  const { clock = createManualClock(START_UNIX_MS), warnings = [], ...rest } = parts
  const log = await openLog({ clock, retention: KEEP_ALL, warn: (text) => void warnings.push(text), ...rest })
  onTestFinished(() => log.close())
  return log
}

/** Resolves when `condition` holds; looks again after every turn of the event loop. The test's own time limit ends a wait in vain. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve))
}
