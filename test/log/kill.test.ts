import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import Database from 'better-sqlite3'
import { expect, test } from 'vitest'
import { databasePath } from '../../plugin/log/migrate.ts'
import { freshFolder, freshLog } from './fresh.ts'
import { callRow } from './row.ts'

/** What a kill -9 may cost. */
const LOST_AT_MOST_MS = 100

interface Told {
  readonly callId: number
  readonly unixMs: number
}

/** Runs a process that appends, kills it -9 in the middle and gives what it told until then. */
async function appendAndKill(dataDir: string): Promise<readonly Told[]> {
  const file = fileURLToPath(new URL('./processes/append.ts', import.meta.url))
  const child = spawn(process.execPath, [file, dataDir], { stdio: ['ignore', 'pipe', 'inherit'] })
  const told: Told[] = []
  for await (const line of createInterface({ input: child.stdout })) {
    const [callId = 0, unixMs = 0] = line.split(' ').map(Number)
    told.push({ callId, unixMs })
    if (told.length === 700) child.kill('SIGKILL')
  }
  if (child.signalCode === null) await once(child, 'exit')
  expect(child.signalCode).toBe('SIGKILL')
  return told
}

test('after a kill -9 the log is whole and holds all but the last 100 ms, and no half transaction', async () => {
  const dataDir = freshFolder()
  const told = await appendAndKill(dataDir)
  const database = new Database(databasePath(dataDir, 'log'))
  expect(database.pragma('integrity_check', { simple: true })).toBe('ok')
  const stored = new Set(database.prepare('SELECT call_id FROM call').pluck().all())
  const count = (sql: string): unknown => database.prepare(sql).pluck().get()
  for (const table of ['candidate', 'attempt']) expect(count(`SELECT count(*) FROM ${table}`)).toBe(stored.size)
  expect(count('SELECT sum(calls) FROM rollup')).toBe(stored.size)
  expect(count(`SELECT value FROM counter WHERE name = 'test.appended'`)).toBe(stored.size)
  database.close()

  expect(stored.size).toBeGreaterThan(300)
  // On a busy machine the process itself may have stood still: what it could not do in that time is no fault of the log.
  const lateMs = Math.max(...told.slice(1).map(({ unixMs }, i) => unixMs - told[i]!.unixMs))
  const killedUnixMs = told.at(-1)!.unixMs
  const missing = told.filter(({ callId }) => !stored.has(callId))
  const lostMs = missing[0] === undefined ? 0 : killedUnixMs - missing[0].unixMs
  expect(lostMs).toBeLessThanOrEqual(LOST_AT_MOST_MS + lateMs)
  // Order is kept: what is missing is the end and nothing before it.
  expect(missing).toEqual(told.slice(told.length - missing.length))

  const log = await freshLog({ dataDir })
  log.append(callRow(0))
  await log.flush()
  expect(log.stats()).toMatchObject({ writtenRows: 1, queuedRows: 0 })
})
