import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { firstIdAt } from '../../plugin/call/id.ts'
import { systemClock } from '../../plugin/clock.ts'
import { databasePath } from '../../plugin/log/migrate.ts'
import { writeLog } from '../learning/made-log.ts'
import { START_UNIX_MS } from '../log/row.ts'
import { endAll, eventually, runPhasewise } from './processes.ts'
import { makeTrainerSite, modelFiles, ROWS, train } from './trainer-site.ts'

/** What happens to nights in the world: they come due, are killed, run out of disk, or find the database taken. */
afterAll(endAll)

/** For what a trainer of low priority does on a machine that is busy with other things. */
const PATIENCE_MS = 300_000

test(
  'killed -9 in the middle of its search, the policy goes on from its last generation and comes out the same',
  async () => {
    const args = ['--only', 'policy', '--generations', '3'] as const
    const undisturbed = await makeTrainerSite()
    const straight = train(undisturbed, ...args)
    expect(await straight.exited, straight.text()).toBe(0)
    const site = await makeTrainerSite()
    const night = train(site, ...args)
    const control = site.control()
    const newest = () => control.trainingRuns.list({ limit: 1 })[0]
    const played = (): number =>
      control.trainingRuns.points(newest()?.runId ?? 0).filter(({ curve }) => curve === 'policy: best candidate').length
    // A generation's point comes a moment before what the search goes on from: with two of them the first is kept.
    await expect.poll(played, { timeout: PATIENCE_MS, interval: 50 }).toBeGreaterThanOrEqual(2)
    process.kill(newest()?.pid as number, 'SIGKILL')
    expect(await night.exited, night.text()).toBe(0)
    expect(night.text()).toMatch(/the search goes on after generation [123] of 3/)
    expect(modelFiles(site.dataDir)).toEqual(modelFiles(undisturbed.dataDir))
  },
  2 * PATIENCE_MS,
)

test(
  'a schedule that comes due makes a night by itself, and what passes is tried as configured',
  async () => {
    const site = await makeTrainerSite(movedTo(systemClock.nowUnixMs() - 600_000))
    // Time to start in, on a busy machine too.
    const dueUnixMs = systemClock.nowUnixMs() + 15_000
    const due = new Date(dueUnixMs)
    const schedule = `${due.getUTCSeconds()} ${due.getUTCMinutes()} ${due.getUTCHours()} * * *`
    site.configure({ schedule, jitterMinutes: 0, afterwards: 'canary' })
    const phasewise = runPhasewise(['start'], { cwd: site.folder })
    await phasewise.printed(/admin +http/)
    const control = site.control()
    const run = await eventually('the night has begun by itself', () => control.trainingRuns.list({ limit: 1 })[0])
    expect(run).toMatchObject({ askedBy: 'schedule', plan: { trigger: 'schedule' } })
    expect(run.askedUnixMs).toBeGreaterThanOrEqual(dueUnixMs - 1_000)
    await expect.poll(() => control.trainingRuns.get(run.runId)?.state, { timeout: PATIENCE_MS, interval: 500 }).toBe('done')
    const passed = control.models
      .list()
      .filter(({ kind, modelId }) => kind !== 'profile' && control.models.verdicts(modelId)[0]?.passed === 1)
    expect(passed.map(({ kind }) => kind)).toContain('length')
    const trial = control.trials.running()
    expect(trial).toMatchObject({ mode: 'canary', askedBy: 'schedule' })
    expect([trial?.lengthModelId, trial?.policyModelId].filter((id) => id !== null)).toEqual(
      expect.arrayContaining(passed.map(({ modelId }) => modelId)),
    )
    phasewise.kill()
    await phasewise.exited
  },
  2 * PATIENCE_MS,
)

/** The rows as if they had arrived from this moment on. */
function movedTo(fromUnixMs: number): typeof ROWS {
  return ROWS.map((row, i) => {
    const arrivedUnixMs = row.call.arrivedUnixMs - START_UNIX_MS + fromUnixMs
    return { ...row, call: { ...row.call, arrivedUnixMs, callId: firstIdAt(arrivedUnixMs) + (i % 4_096) } }
  })
}

const mount = (at: string, mebibytes: number): boolean =>
  spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', at]).status === 0

/** Root alone does not say it: a container may take the right from it. */
function mayMount(): boolean {
  const at = mkdtempSync(join(tmpdir(), 'phasewise-disk-'))
  const may = mount(at, 1)
  if (may) spawnSync('umount', ['-l', at])
  rmSync(at, { recursive: true, force: true })
  return may
}

/** A disk of its own, so small that it can be filled to the last byte. */
function mountDisk(at: string, mebibytes: number): void {
  expect(mount(at, mebibytes)).toBe(true)
  onTestFinished(() => void spawnSync('umount', ['-l', at]))
}

/** Leaves `leftBytes` of the disk. */
function fill(folder: string, leftBytes: number): void {
  const { bavail, bsize } = statfsSync(folder)
  writeFileSync(join(folder, 'ballast'), Buffer.alloc(Math.max(0, bavail * bsize - leftBytes)))
}

const hasDisk = mayMount()

test.skipIf(!hasDisk && process.env.CI !== 'true').each([
  ['before it begins', 0],
  ['while it keeps what it has made', 60_000],
] as const)(
  `a disk that is full %s is said so, and what serves stays${hasDisk ? '' : ' (skipped: a small disk cannot be mounted here; run as root, outside of a container)'}`,
  async (_when, leftBytes) => {
    const site = await makeTrainerSite([])
    mountDisk(site.dataDir, 48)
    await writeLog(site.dataDir, ROWS)
    fill(site.dataDir, leftBytes)
    const night = train(site, '--only', 'profiles')
    expect(await night.exited).toBe(1)
    expect(night.text()).toMatch(/the disk is full: make room in the data directory, then run again/)
    rmSync(join(site.dataDir, 'ballast'))
    const control = site.control()
    expect(control.models.history({ limit: 5 })).toEqual([])
    expect(control.models.list()).toEqual([])
    const again = train(site, '--only', 'profiles')
    expect(await again.exited, again.text()).toBe(0)
  },
  2 * PATIENCE_MS,
)

test(
  'a locked control database is waited for, and the run ends as it would have',
  async () => {
    const site = await makeTrainerSite()
    const night = train(site, '--only', 'profiles')
    const control = site.control()
    await expect.poll(() => control.trainingRuns.list({ limit: 1 })[0]?.phase, { timeout: PATIENCE_MS, interval: 50 }).toBe('profiles')
    const database = new Database(databasePath(site.dataDir, 'control'), { timeout: 10_000 })
    database.exec('BEGIN IMMEDIATE')
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    database.exec('ROLLBACK')
    database.close()
    expect(await night.exited, night.text()).toBe(0)
    expect(control.trainingRuns.list({ limit: 1 })).toMatchObject([{ state: 'done', attempts: 1 }])
  },
  2 * PATIENCE_MS,
)
