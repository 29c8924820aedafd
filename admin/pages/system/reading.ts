import { statSync } from 'node:fs'
import { FEATURE_HASH } from '../../../plugin/log/read/columns.ts'
import { type RouterNow, readFleetNow, readOldestCall } from '../../../plugin/log/read/now.ts'
import { type CounterNow, type DatabaseNow, readCallsSince, readCounters, readDatabaseNow } from '../../../plugin/log/read/system.ts'
import { routerState } from '../../frame.ts'
import type { PageParts } from '../../routes.ts'

const DAY_MS = 86_400_000

/** Everything that System tells and a support bundle holds. Bytes, Unix ms. */
export interface SystemNow {
  readonly atUnixMs: number
  readonly router: RouterNow | undefined
  readonly routerRuns: boolean
  /** What the router said to a question over loopback just now. */
  readonly line: { readonly answers: boolean; readonly says: string }
  readonly admin: { readonly pid: number; readonly supervisorPid: number; readonly upMs: number; readonly memoryBytes: number }
  readonly instances: Readonly<Record<string, number>>
  readonly counters: readonly CounterNow[]
  readonly log: DatabaseNow & {
    readonly fileBytes: number
    readonly walBytes: number
    readonly oldestUnixMs: number | undefined
    readonly callsLastDay: number
    /** Used bytes over the time that the log covers; undefined before it covers an hour. */
    readonly bytesPerDay: number | undefined
  }
  readonly control: { readonly bytes: number; readonly migrations: readonly string[] }
  readonly openIntents: number
  readonly versions: Readonly<Record<string, string>>
}

/** A rate over less time than this would be noise. */
const SPAN_MIN_MS = 3_600_000

/** Reads it all; a router that does not answer within a second is said to be silent. */
export async function readSystem(parts: PageParts, nowUnixMs: number): Promise<SystemNow> {
  const { reader, control, facts, line } = parts
  const health = await line.ask({ method: 'GET', path: '/v1/health' })
  const look = reader.read((query) => ({
    state: routerState(query, nowUnixMs),
    fleet: readFleetNow(query),
    counters: readCounters(query),
    database: readDatabaseNow(query),
    oldestUnixMs: readOldestCall(query),
    callsLastDay: readCallsSince(query, nowUnixMs - DAY_MS),
  }))
  const { database, oldestUnixMs } = look
  const spanMs = oldestUnixMs === undefined ? 0 : nowUnixMs - oldestUnixMs
  const usedBytes = (database.pages - database.freePages) * database.pageBytes
  const file = control.describe()
  const instances: Record<string, number> = {}
  for (const { state } of look.fleet) instances[state] = (instances[state] ?? 0) + 1
  return {
    atUnixMs: nowUnixMs,
    router: look.state.router,
    routerRuns: look.state.running,
    line: health.kind === 'answered' ? { answers: true, says: `status ${health.status}` } : { answers: false, says: health.why },
    admin: {
      pid: process.pid,
      supervisorPid: process.ppid,
      upMs: process.uptime() * 1000,
      memoryBytes: process.memoryUsage.rss(),
    },
    instances,
    counters: look.counters,
    log: {
      ...database,
      fileBytes: bytesOf(facts.logPath),
      walBytes: bytesOf(`${facts.logPath}-wal`),
      oldestUnixMs,
      callsLastDay: look.callsLastDay,
      bytesPerDay: spanMs < SPAN_MIN_MS ? undefined : (usedBytes / spanMs) * DAY_MS,
    },
    control: { bytes: file.pages * file.pageBytes, migrations: file.migrations },
    openIntents: control.intents.open().length,
    versions: {
      Phasewise: facts.version,
      Node: process.versions.node,
      SQLite: database.version,
      System: `${process.platform} ${process.arch}`,
      'Column list': FEATURE_HASH,
    },
  }
}

const bytesOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0
