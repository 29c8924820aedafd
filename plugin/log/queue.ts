import type { CounterRow, KeptRow, LogRow, NowRow, ScrapeRow } from './rows.ts'

/** What waits for the log thread, in order, and what was merged on the way. */
export interface Batch {
  readonly rows: readonly KeptRow[]
  readonly counters: readonly CounterRow[]
  readonly now?: NowRow
  /** Of all rows ever appended, how many are behind us once this batch is on disk. */
  readonly coversAppended: number
}

/**
 * Rows that may wait. Chosen: at 1,000 calls a second the disk may stand still for 20 s, and with four candidates a waiting call holds
 * about 3 KB, so the bound is some 60 MB.
 */
export const QUEUE_ROWS_MAX = 20_000

/** Rows in one batch: writing these takes about 30 ms, so that the next batch is never late because this one was long. */
export const BATCH_ROWS_MAX = 1_000

/**
 * Of an instance's scrapes one in this time is kept: about one a second, which is as fine as a chart gets. Less than the second itself, so
 * that a router that hands over one a second, give or take the jitter of a timer, has each of them kept.
 */
export const SCRAPE_EVERY_MS = 800

/** Counter under which dropped rows are stored. */
export const DROPPED_COUNTER = 'log.droppedRows'

/**
 * The bounded queue between the router and the log thread. Beyond its bound the oldest row goes and is counted. Counters are added up
 * and of the router's states only the newest waits, so neither can be dropped nor grow.
 */
export class RowQueue {
  readonly #rowsMax: number
  readonly #counters = new Map<string, CounterRow>()
  readonly #scrapedUnixMs = new Map<string, number>()
  #rows: KeptRow[] = []
  #head = 0
  #now: NowRow | undefined
  #appended = 0
  #dropped = 0

  constructor(rowsMax: number = QUEUE_ROWS_MAX) {
    this.#rowsMax = rowsMax
  }

  /** Rows waiting. */
  get length(): number {
    return this.#rows.length - this.#head
  }
  /** Rows dropped since the start. */
  get dropped(): number {
    return this.#dropped
  }
  /** Rows appended since the start, merged ones included. */
  get appended(): number {
    return this.#appended
  }
  /** Nothing waits, not even a counter. */
  get isEmpty(): boolean {
    return this.length === 0 && this.#counters.size === 0 && this.#now === undefined
  }

  append(row: LogRow): void {
    this.#appended += 1
    if (row.kind === 'counter') this.#count(row)
    else if (row.kind === 'now') this.#now = row
    else if (row.kind !== 'scrape' || this.#isDue(row)) this.#push(row)
  }

  /** Takes the oldest rows, at most BATCH_ROWS_MAX, and all that was merged. */
  take(): Batch {
    const end = Math.min(this.#rows.length, this.#head + BATCH_ROWS_MAX)
    const rows = this.#rows.slice(this.#head, end)
    this.#head = end
    this.#giveBack()
    const counters = [...this.#counters.values()]
    this.#counters.clear()
    const now = this.#now
    this.#now = undefined
    const coversAppended = this.#appended - this.length
    return now === undefined ? { rows, counters, coversAppended } : { rows, counters, coversAppended, now }
  }

  #push(row: KeptRow): void {
    this.#rows.push(row)
    if (this.length <= this.#rowsMax) return
    const oldest = this.#rows[this.#head]
    this.#head += 1
    this.#dropped += 1
    this.#count({ kind: 'counter', name: DROPPED_COUNTER, by: 1, atUnixMs: oldest === undefined ? 0 : timeOf(oldest) })
    this.#giveBack()
  }

  /** Taken rows stay in the array until they are half of it: then each append has paid for one copy at most. */
  #giveBack(): void {
    if (this.#head * 2 < this.#rows.length) return
    this.#rows = this.#rows.slice(this.#head)
    this.#head = 0
  }

  #count(row: CounterRow): void {
    const waiting = this.#counters.get(row.name)
    this.#counters.set(row.name, waiting === undefined ? row : { ...row, by: waiting.by + row.by })
  }

  #isDue(row: ScrapeRow): boolean {
    const key = `${row.instance.pool}\n${row.instance.name}\n${row.instance.url}`
    const last = this.#scrapedUnixMs.get(key)
    const sinceMs = last === undefined ? Number.POSITIVE_INFINITY : row.takenUnixMs - last
    // A wall clock that stepped back would otherwise silence the instance until it has caught up.
    if (sinceMs >= 0 && sinceMs < SCRAPE_EVERY_MS) return false
    this.#scrapedUnixMs.set(key, row.takenUnixMs)
    return true
  }
}

/** When the row's call arrived, its scrape was taken or its block began, Unix ms. */
export function timeOf(row: KeptRow): number {
  if (row.kind === 'block') return row.fromUnixMs
  return row.kind === 'call' ? row.call.arrivedUnixMs : row.takenUnixMs
}
