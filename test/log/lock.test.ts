import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { DirectoryHeld, lockDirectory } from '../../plugin/log/lock.ts'
import { freshFolder } from './fresh.ts'

const SINCE_UNIX_MS = 1_767_225_600_000

async function hold(dataDir: string): Promise<{ readonly child: ChildProcess; readonly said: string }> {
  const file = fileURLToPath(new URL('./processes/hold.ts', import.meta.url))
  const child = spawn(process.execPath, ['--expose-gc', file, dataDir], { stdio: ['pipe', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [data] = await once(child.stdout!, 'data')
  return { child, said: String(data).trim() }
}

test('a second process learns who holds the data directory and since when', async () => {
  const dataDir = freshFolder()
  const first = await hold(dataDir)
  expect(first.said).toBe('held')
  expect(() => lockDirectory({ dataDir, holder: { pid: 1, sinceUnixMs: 2 } })).toThrow(
    `in use by process ${first.child.pid} since 2026-01-01T00:00:00.000Z: stop that Phasewise or choose another dataDir`,
  )
  const second = await hold(dataDir)
  expect(second.said).toContain(`process ${first.child.pid} since`)
})

test('a holder that was killed -9 leaves nothing stale', async () => {
  const dataDir = freshFolder()
  const { child } = await hold(dataDir)
  child.kill('SIGKILL')
  await once(child, 'exit')
  const lock = lockDirectory({ dataDir, holder: { pid: process.pid, sinceUnixMs: SINCE_UNIX_MS } })
  try {
    expect(() => lockDirectory({ dataDir, holder: { pid: 1, sinceUnixMs: 2 } })).toThrow(DirectoryHeld)
  } finally {
    lock.release()
  }
})

test('of two processes that start at once exactly one holds', async () => {
  const dataDir = freshFolder()
  const both = await Promise.all([hold(dataDir), hold(dataDir)])
  expect(both.filter(({ said }) => said === 'held')).toHaveLength(1)
})

test('a directory that was released can be held again', () => {
  const dataDir = freshFolder()
  for (let i = 0; i < 3; i++) lockDirectory({ dataDir, holder: { pid: i + 1, sinceUnixMs: SINCE_UNIX_MS } }).release()
})
