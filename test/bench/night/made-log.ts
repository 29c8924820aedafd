import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { migrateDataDirectory } from '../../../plugin/log/migrate.ts'
import type { CallRow, LogStats } from '../../../plugin/log/rows.ts'
import { openWriter } from '../../../plugin/log/writer.ts'
import { eachMadeRow } from '../../learning/made-log.ts'
import { START_UNIX_MS } from '../../log/row.ts'
import { progress } from '../harness.ts'

const NO_STATS: LogStats = { queuedRows: 0, droppedRows: 0, writtenRows: 0, rejectedRows: 0, threadRestarts: 0 }
const BATCH_ROWS = 5_000

/** Calls of a twin through the log's own writer, into the data directory of `cwd`. Gives the time of the last arrival, Unix ms. */
export function writeMadeLog(cwd: string, calls: number): number {
  const dataDir = join(cwd, '.phasewise')
  mkdirSync(dataDir, { recursive: true })
  migrateDataDirectory({ dataDir, nowUnixMs: START_UNIX_MS })
  const writer = openWriter(join(dataDir, 'log.sqlite'))
  let rows: CallRow[] = []
  let written = 0
  let lastUnixMs = START_UNIX_MS
  const flush = (): void => {
    const appended = written + rows.length
    written += writer.write({
      source: 'made',
      sequence: appended,
      batch: { rows, counters: [], coversAppended: appended },
      stats: NO_STATS,
    }).rows
    rows = []
    if (written % 50_000 < BATCH_ROWS) progress(written, calls, 'calls written')
  }
  eachMadeRow({ calls, seed: 1 }, (row) => {
    lastUnixMs = Math.max(lastUnixMs, row.call.arrivedUnixMs)
    rows.push(row)
    if (rows.length >= BATCH_ROWS) flush()
  })
  if (rows.length > 0) flush()
  writer.close()
  return Math.ceil(lastUnixMs)
}
