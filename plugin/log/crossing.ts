import { Packer } from './packing.ts'
import type { Batch } from './queue.ts'
import type { LogRow } from './rows.ts'

/** The batch without what holds something no thread can be given (a function). */
export function crossable(batch: Batch): Batch {
  const { rows, counters, coversAppended, now } = batch
  const rest = { rows: rows.filter(canBePacked), counters: counters.filter(canCross), coversAppended }
  return now !== undefined && canCross(now) ? { ...rest, now } : rest
}

function canBePacked(row: LogRow): boolean {
  try {
    new Packer().pack([row])
    return true
  } catch {
    // The caller counts what is left out.
    return false
  }
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
