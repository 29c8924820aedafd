import Database from 'better-sqlite3'
import type { Clock } from '../clock.ts'
import type { FromThread, PackedBatch, Retention, Standing, ThreadData, ToThread } from './messages.ts'
import { databasePath, MigrationRefused, migrate, readMigrations } from './migrate.ts'
import { type IntentDesk, openIntentDesk } from './obey.ts'
import { unpack } from './packing.ts'
import { createKeeper, type Keeper } from './retention.ts'
import type { Finding, KeptRow } from './rows.ts'
import { openWriter, type SentBatch, type Writer } from './writer.ts'

/** The thread's end of the line to the router. */
export interface ThreadPort {
  postMessage(message: FromThread): void
  on(event: 'message', listen: (message: ToThread) => void): unknown
  close(): void
}

/** How often open intents are looked for: the router must obey within a second, and one look costs some 20 µs. */
const INTENT_EVERY_MS = 200

/** A failed write is tried again after this, doubling up to the second: soon enough that a short stall is not felt. */
const RETRY_FIRST_MS = 50
const RETRY_LAST_MS = 2_000

/** How often retention looks whether there is something to do, and its rest between two portions, in which batches are written. */
const RETENTION_EVERY_MS = 60_000
const RETENTION_FIRST_MS = 5_000
const RETENTION_REST_MS = 20

/** How long the thread waits for another process that migrates before it says so and tries again. */
const MIGRATION_WAIT_MS = 2_000

const NOTHING_STANDS: Standing = { drained: [], isOff: false, fleetChanges: [], instanceChanges: [] }

/** Serves one router until it says close: writes batches, hands out intents, keeps the log within its bounds. Whatever fails is told and tried again. */
export function serveLog(parts: { readonly port: ThreadPort; readonly data: ThreadData; readonly clock: Clock }): void {
  const { port, data, clock } = parts
  const trouble = (doing: string, error: unknown): void => port.postMessage({ kind: 'trouble', error: `${doing}: ${inWords(error)}` })
  /** Undefined where it failed for now; throws only what no second attempt can mend. */
  const attempt = <T>(doing: string, work: () => T): T | undefined => {
    try {
      return work()
    } catch (error) {
      if (error instanceof MigrationRefused) throw error
      trouble(doing, error)
      return undefined
    }
  }
  const log = createLogSide({ port, data, clock, trouble })
  const control = createControlSide({ port, data, clock, trouble })
  try {
    attempt('opening the log', log.open)
    port.postMessage({ kind: 'ready', ...(attempt('reading what was asked before', control.standing) ?? NOTHING_STANDS) })
  } catch (error) {
    port.postMessage({ kind: 'unfit', error: inWords(error) })
    port.close()
    return
  }
  const looking = setInterval(() => control.look(), INTENT_EVERY_MS)
  let keeping = setTimeout(keep, RETENTION_FIRST_MS)
  function keep(): void {
    keeping = setTimeout(keep, log.keep() ? RETENTION_REST_MS : RETENTION_EVERY_MS)
  }
  port.on('message', (message) => {
    if (message.kind === 'batch') log.take(message)
    else if (message.kind === 'answer') control.answer(message)
    else if (message.kind === 'retain') log.retain(message.retention)
    else if (message.kind === 'finding') control.report(message.finding)
    else {
      clearInterval(looking)
      clearTimeout(keeping)
      control.close()
      log.close()
      port.postMessage({ kind: 'closed' })
      port.close()
    }
  })
}

interface SideParts {
  readonly port: ThreadPort
  readonly data: ThreadData
  readonly clock: Clock
  readonly trouble: (doing: string, error: unknown) => void
}

/** `log.sqlite`: holds the batch in hand until it is on disk. */
function createLogSide({ port, data, clock, trouble }: SideParts) {
  let writer: Writer | undefined
  let keeper: Keeper | undefined
  let { retention } = data
  let inHand: SentBatch | undefined
  let retry: NodeJS.Timeout | undefined
  let waitMs = RETRY_FIRST_MS
  const open = (): Writer => {
    if (writer !== undefined) return writer
    const path = migrated(data, clock, 'log')
    writer = openWriter(path)
    keeper = createKeeper({ database: writer.database, hours: writer.hours, retention: () => retention })
    return writer
  }
  const shut = (): void => {
    writer?.close()
    writer = undefined
    keeper = undefined
  }
  const tryWrite = (): void => {
    retry = undefined
    if (inHand === undefined) return
    try {
      const written = open().write(inHand)
      port.postMessage({ kind: 'written', sequence: inHand.sequence, ...written })
      inHand = undefined
      waitMs = RETRY_FIRST_MS
    } catch (error) {
      trouble('writing the log', error)
      // Whatever is wrong with the file, a fresh connection sees it as it is now; a lock needs none.
      if (!isBusy(error)) shut()
      retry = setTimeout(tryWrite, waitMs)
      waitMs = Math.min(RETRY_LAST_MS, waitMs * 2)
    }
  }
  return {
    open,
    take(sent: Omit<SentBatch, 'batch'> & { readonly batch: PackedBatch }): void {
      const { batch } = sent
      inHand = { ...sent, batch: { ...batch, rows: unpack(batch.rows) as KeptRow[] } }
      if (retry === undefined) tryWrite()
    },
    retain(wanted: Retention): void {
      retention = wanted
    },
    /** One portion of retention; true when there is more. While a batch cannot be written there is nothing to do either. */
    keep(): boolean {
      try {
        return inHand === undefined && (keeper?.step(clock.nowUnixMs()) ?? false)
      } catch (error) {
        trouble('keeping the log within its bounds', error)
        return false
      }
    },
    close(): void {
      if (retry !== undefined) clearTimeout(retry)
      shut()
    },
  }
}

/** `control.sqlite`: opened anew when it fails, so that the log goes on without it. */
function createControlSide({ port, data, clock, trouble }: SideParts) {
  let desk: IntentDesk | undefined
  const open = (): IntentDesk => {
    desk ??= openIntentDesk({ path: migrated(data, clock, 'control'), clock, ...(data.intentKinds && { kinds: data.intentKinds }) })
    return desk
  }
  const attempt = (doing: string, work: () => void): void => {
    try {
      work()
    } catch (error) {
      // Busy passes by itself; what was handed out or waits to be marked is known to this desk.
      if (!isBusy(error)) trouble(doing, error)
    }
  }
  return {
    standing: () => open().standing,
    look(): void {
      attempt('looking for intents', () => {
        open().settle()
        for (const intent of open().fresh()) port.postMessage({ kind: 'intent', intent })
      })
    },
    answer(message: Extract<ToThread, { kind: 'answer' }>): void {
      attempt('answering an intent', () => open().answer(message.intentId, message))
    },
    report(finding: Finding): void {
      attempt('keeping what the router found', () => open().report(finding))
    },
    close: () => desk?.close(),
  }
}

function migrated(data: ThreadData, clock: Clock, name: 'log' | 'control'): string {
  const path = databasePath(data.dataDir, name)
  migrate({ path, migrations: readMigrations(name), nowUnixMs: clock.nowUnixMs(), lockWaitMs: MIGRATION_WAIT_MS })
  return path
}

function isBusy(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')
}

function inWords(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
