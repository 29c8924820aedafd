import type { Batch } from './queue.ts'
import type { LogRow } from './rows.ts'

/** The batch without what holds something no thread can be given (a function). */
export function crossable(batch: Batch): Batch {
  const { rows, counters, coversAppended, now } = batch
  const rest = { rows: rows.filter(canCross), counters: counters.filter(canCross), coversAppended }
  return now !== undefined && canCross(now) ? { ...rest, now } : rest
}

function canCross(row: LogRow): boolean {
  try {
    structuredClone(row)
    return true
  } catch {
    // The caller counts what is left out.
    return false
  }
}
