import { randomUUID } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import type { Clock } from '../clock.ts'
import { crossable } from './crossing.ts'
import { createIntentInbox } from './inbox.ts'
import type { FromThread, Retention, Standing, ThreadData, ToThread } from './messages.ts'
import { MigrationRefused } from './migrate.ts'
import { Packer, transferred } from './packing.ts'
import { type Batch, RowQueue } from './queue.ts'
import type { Finding, Intent, Log, LogRow, LogStats } from './rows.ts'

export interface LogParts {
  /** Holds `log.sqlite` and `control.sqlite`; both are made or migrated here. Must exist. */
  readonly dataDir: string
  readonly clock: Clock
  readonly retention: Retention
  /** Told what does not work, at most once a minute. */
  readonly warn: (message: string) => void
  /** Kinds of intent this process obeys; all when absent. */
  readonly intentKinds?: readonly string[]
  /** Rows that may wait; QUEUE_ROWS_MAX when absent. */
  readonly rowsMax?: number
  /** The log thread's file, for tests of its death. */
  readonly threadUrl?: URL
}

/**
 * Rows wait this long for company: with the write itself (a few ms) a row is on disk well within the 100 ms that a kill -9 may cost. Short, since
 * rows that wait survive the young collections of a busy router, and a large batch is a long copy (bench proxy: scavenges p90 6.5 ms at 40, 3.5 at 10).
 */
const POST_EVERY_MS = 10

/** One warning in this time: a full disk is said once a minute, not with every batch. */
const WARN_EVERY_MS = 60_000

/** A dead log thread is started again after this, doubling up to the second. */
const RESTART_FIRST_MS = 100
const RESTART_LAST_MS = 5_000

/** At the end the log may take this long for what still waits; the whole process has 10 s to end. */
const CLOSE_WAIT_MS = 3_000

/** Counter under which deaths of the log thread are stored. */
export const RESTARTS_COUNTER = 'log.threadRestarts'

/**
 * Opens the log: starts its thread, which migrates both databases, and resolves when it is ready to write. Throws MigrationRefused when a
 * database does not fit this Phasewise. Any other trouble (locked, full, broken) does not keep the router from starting: it shows in
 * `stats().error` and the thread goes on trying.
 */
export async function openLog(parts: LogParts): Promise<Log> {
  const line = new LogLine(parts)
  const standing = await line.ready
  return {
    append: (row) => line.append(row),
    stats: () => line.stats(),
    onIntent: (obey) => line.onIntent(obey),
    report: (finding) => line.report(finding),
    ...standing,
    retain: (retention) => line.retain(retention),
    flush: () => line.flush(),
    close: () => line.close(),
  }
}

/** In compiled form the thread's file ends in .js like this one. */
function defaultThreadUrl(): URL {
  return new URL(import.meta.url.endsWith('.ts') ? './thread-entry.ts' : './thread-entry.js', import.meta.url)
}

interface InFlight {
  readonly sequence: number
  readonly batch: Batch
}

interface Flush {
  readonly appended: number
  readonly resolve: () => void
}

/**
 * The line to the log thread. At most one batch is under way, and the next leaves when that one is on disk: so whatever waits, waits
 * in the bounded queue, and a batch whose thread died is known and sent again.
 */
class LogLine {
  readonly #parts: LogParts
  readonly #queue: RowQueue
  readonly #packer = new Packer()
  /** With the sequence number, names a batch for good. */
  readonly #source = randomUUID()
  readonly #opened = Promise.withResolvers<Standing>()
  readonly #ended = Promise.withResolvers<void>()
  readonly #flushes = new Set<Flush>()
  readonly #intents = createIntentInbox((answer) => this.#thread?.postMessage(answer satisfies ToThread))
  #state: 'opening' | 'open' | 'closing' = 'opening'
  /** Found while there was no thread to keep it. */
  readonly #findings: Finding[] = []
  #thread: Worker | undefined
  #timer: NodeJS.Timeout | undefined
  #inFlight: InFlight | undefined
  /** Something has waited its time already and leaves as soon as the batch under way is on disk. */
  #isDue = false
  #sequence = 0
  #covered = 0
  #writtenRows = 0
  #rejectedRows = 0
  #threadRestarts = 0
  #restartWaitMs = RESTART_FIRST_MS
  #error: string | undefined
  #retention: Retention
  #warnedMs = Number.NEGATIVE_INFINITY
  #warnedDropped = 0

  constructor(parts: LogParts) {
    this.#parts = parts
    this.#retention = parts.retention
    this.#queue = new RowQueue(parts.rowsMax)
    this.#start()
  }

  get ready(): Promise<Standing> {
    return this.#opened.promise
  }

  append(row: LogRow): void {
    if (this.#state === 'closing') {
      this.#rejectedRows += 1
      return
    }
    this.#queue.append(row)
    this.#timer ??= setTimeout(() => this.#fire(), POST_EVERY_MS)
  }

  retain(retention: Retention): void {
    this.#retention = retention
    this.#thread?.postMessage({ kind: 'retain', retention } satisfies ToThread)
  }

  onIntent(obey: (intent: Intent) => Promise<string>): void {
    this.#intents.onIntent(obey)
  }

  report(finding: Finding): void {
    if (this.#thread === undefined) this.#findings.push(finding)
    else this.#thread.postMessage({ kind: 'finding', finding } satisfies ToThread)
  }

  stats(): LogStats {
    return {
      queuedRows: this.#queue.length + (this.#inFlight?.batch.rows.length ?? 0),
      droppedRows: this.#queue.dropped,
      writtenRows: this.#writtenRows,
      rejectedRows: this.#rejectedRows,
      threadRestarts: this.#threadRestarts,
      ...(this.#error !== undefined && { error: this.#error }),
    }
  }

  flush(): Promise<void> {
    if (this.#inFlight === undefined && this.#queue.isEmpty) return Promise.resolve()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#flushes.add({ appended: this.#queue.appended, resolve })
    this.#fire()
    return promise
  }

  async close(): Promise<void> {
    if (this.#state === 'closing') return this.#ended.promise
    await within(CLOSE_WAIT_MS, this.flush())
    this.#state = 'closing'
    clearTimeout(this.#timer)
    const { queuedRows, error = 'the disk is too slow' } = this.stats()
    if (queuedRows > 0) this.#parts.warn(`log: closed with ${queuedRows} rows that could not be written: ${error}`)
    const thread = this.#thread
    if (thread === undefined) return this.#ended.resolve()
    thread.postMessage({ kind: 'close' } satisfies ToThread)
    await within(CLOSE_WAIT_MS, this.#ended.promise)
    await thread.terminate()
  }

  #start(): void {
    const { dataDir, intentKinds, threadUrl = defaultThreadUrl() } = this.#parts
    const workerData: ThreadData = { dataDir, retention: this.#retention, ...(intentKinds && { intentKinds }) }
    const worker = new Worker(threadUrl, { workerData, name: 'log', execArgv: [] })
    worker.on('message', (message: FromThread) => this.#hear(worker, message))
    worker.on('error', (cause) => this.#fail(`the log thread failed: ${String(cause)}`))
    worker.on('exit', () => this.#lost())
  }

  #hear(from: Worker, message: FromThread): void {
    if (message.kind === 'written') this.#settle(message)
    else if (message.kind === 'trouble') this.#fail(message.error)
    else if (message.kind === 'intent') this.#intents.take(message.intent)
    else if (message.kind === 'unfit') {
      this.#fail(message.error)
      this.#opened.reject(new MigrationRefused(message.error))
    } else if (message.kind === 'ready') {
      this.#thread = from
      if (this.#state === 'opening') this.#state = 'open'
      const { kind: _, ...standing } = message
      this.#opened.resolve(standing)
      for (const finding of this.#findings.splice(0)) this.report(finding)
      if (this.#inFlight !== undefined) this.#send(this.#inFlight)
      else this.#post()
    }
  }

  #lost(): void {
    this.#thread = undefined
    if (this.#state === 'opening') {
      this.#state = 'closing'
      this.#opened.reject(new Error(`the log thread ended before it was ready: ${this.#error ?? 'no reason given'}`))
    }
    if (this.#state === 'closing') this.#ended.resolve()
    else this.#restart()
  }

  #restart(): void {
    this.#threadRestarts += 1
    this.#queue.append({ kind: 'counter', name: RESTARTS_COUNTER, by: 1, atUnixMs: this.#parts.clock.nowUnixMs() })
    this.#fail('the log thread ended and is started again')
    setTimeout(() => this.#state === 'open' && this.#start(), this.#restartWaitMs)
    this.#restartWaitMs = Math.min(RESTART_LAST_MS, this.#restartWaitMs * 2)
  }

  #fire(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#queue.dropped > this.#warnedDropped) this.#complain('the log cannot keep up')
    this.#isDue = true
    this.#post()
  }

  #post(): void {
    if (this.#inFlight !== undefined || this.#thread === undefined || this.#queue.isEmpty) return
    this.#sequence += 1
    this.#inFlight = { sequence: this.#sequence, batch: this.#queue.take() }
    // What a full batch left over has waited as long as what it took.
    this.#isDue = this.#queue.length > 0
    this.#send(this.#inFlight)
  }

  #send(inFlight: InFlight): void {
    try {
      this.#hand(inFlight)
    } catch (cause) {
      const batch = crossable(inFlight.batch)
      this.#rejectedRows += inFlight.batch.rows.length - batch.rows.length
      this.#complain(`a row cannot cross to the log thread: ${String(cause)}`)
      this.#inFlight = { ...inFlight, batch }
      this.#hand(this.#inFlight)
    }
  }

  #hand({ sequence, batch }: InFlight): void {
    const rows = this.#packer.pack(batch.rows)
    const message = { kind: 'batch', source: this.#source, stats: this.stats(), sequence, batch: { ...batch, rows } } as const
    this.#thread?.postMessage(message satisfies ToThread, transferred(rows))
  }

  #settle(message: Extract<FromThread, { kind: 'written' }>): void {
    const inFlight = this.#inFlight
    if (inFlight?.sequence !== message.sequence) return
    this.#inFlight = undefined
    this.#error = undefined
    this.#restartWaitMs = RESTART_FIRST_MS
    this.#writtenRows += message.rows
    this.#rejectedRows += message.rejected
    if (message.rejected > 0) this.#complain(`a row cannot be stored: ${message.rejection}`)
    this.#covered = this.#queue.isEmpty ? this.#queue.appended : inFlight.batch.coversAppended
    for (const flush of this.#flushes) {
      if (flush.appended > this.#covered) continue
      this.#flushes.delete(flush)
      flush.resolve()
    }
    if (this.#isDue) this.#fire()
  }

  #fail(what: string): void {
    this.#error = what
    this.#complain(what)
  }

  #complain(what: string): void {
    const nowMs = this.#parts.clock.nowMs()
    if (nowMs - this.#warnedMs < WARN_EVERY_MS) return
    this.#warnedMs = nowMs
    this.#warnedDropped = this.#queue.dropped
    const { queuedRows, droppedRows } = this.stats()
    this.#parts.warn(`log: ${what}; ${queuedRows} rows wait, ${droppedRows} were dropped; calls go on`)
  }
}

async function within(limitMs: number, work: Promise<void>): Promise<void> {
  const limit = Promise.withResolvers<void>()
  const timer = setTimeout(limit.resolve, limitMs)
  await Promise.race([work, limit.promise])
  clearTimeout(timer)
}
