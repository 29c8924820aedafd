import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { learnedProfiles } from '../../admin/pages/fleet-profiles.ts'
import type { TrainingRun } from '../../plugin/log/control/training.ts'
import { databasePath } from '../../plugin/log/migrate.ts'
import { endAll, eventually } from './processes.ts'
import { makeTrainerSite, modelFiles, ROWS, train } from './trainer-site.ts'

/** The trainer as a real process: what it makes, and what is left when it dies. */
afterAll(endAll)

let whole: Record<string, string> = {}

beforeAll(async () => {
  const site = await makeTrainerSite()
  const night = train(site)
  expect(await night.exited, night.text()).toBe(0)
  whole = modelFiles(site.dataDir)
}, 300_000)

test('a night makes profiles, a length model and a policy, each judged, and touches nothing that serves', async () => {
  expect(Object.keys(whole).map((path) => path.split('/')[1])).toEqual(expect.arrayContaining(['length', 'policy', 'profile']))
  const site = await makeTrainerSite()
  const night = train(site, '--only', 'profiles')
  expect(await night.exited).toBe(0)
  const control = site.control()
  const [run] = control.trainingRuns.list({ limit: 1 })
  expect(run).toMatchObject({ state: 'done', attempts: 1, progressRatio: 1, error: null })
  expect(
    control.trainingRuns
      .lines(run!.runId)
      .map(({ text }) => text)
      .join('\n'),
  ).toMatch(/3000 of 3000 rows can be used/)
  expect(control.models.list().map(({ kind, alias }) => [kind, alias])).toEqual([['profile', 'challenger']])
  expect(control.models.history({ limit: 5 })).toEqual([])
  const [profile] = control.models.list('profile')
  const { pool } = JSON.parse(profile?.card ?? '{}').data as { readonly pool: string }
  // The page reads what the night wrote.
  expect(learnedProfiles(control, pool)).toMatchObject({ version: profile?.version, serves: false, rows: expect.any(Array) })
}, 300_000)

const PHASES = ['reading', 'profiles', 'length', 'policy', 'evaluating'] as const
type Phase = (typeof PHASES)[number]

test.each([[['reading', 'profiles']], [['length', 'policy']], [['evaluating']]] as const)(
  'killed -9 while %s, the run is taken up by the next trainer and makes the same models to the byte',
  async (phases) => {
    const site = await makeTrainerSite()
    const night = train(site)
    const control = site.control()
    for (const [i, phase] of phases.entries()) {
      const { pid } = await eventually(`attempt ${i + 1} is ${phase}`, () => {
        const [run] = control.trainingRuns.list({ limit: 1 })
        if (run?.state === 'done') throw new Error('it was faster than the kill')
        return run?.attempts === i + 1 && reached(run, phase) ? run : undefined
      })
      process.kill(pid as number, 'SIGKILL')
    }
    expect(await night.exited, night.text()).toBe(0)
    expect(night.text()).toMatch(new RegExp(`taken up again \\(attempt ${phases.length + 1}\\)`))
    const [run] = control.trainingRuns.list({ limit: 1 })
    expect(run).toMatchObject({ state: 'done', attempts: phases.length + 1 })
    expect(modelFiles(site.dataDir)).toEqual(whole)
    expect(existsSync(join(site.dataDir, 'training', `run-${run?.runId}`))).toBe(false)
  },
  300_000,
)

function reached(run: TrainingRun | undefined, phase: Phase): run is TrainingRun {
  if (!run || run.pid === null) return false
  return phase === 'reading' ? run.state === 'running' : PHASES.indexOf(run.phase as Phase) >= PHASES.indexOf(phase)
}

test('a run that kills three trainers is given up, in words', async () => {
  const site = await makeTrainerSite()
  const first = train(site)
  const control = site.control()
  for (let attempt = 1; attempt <= 3; attempt++) {
    const run = await eventually(`attempt ${attempt}`, () => {
      const [one] = control.trainingRuns.list({ limit: 1 })
      return one?.state === 'running' && one.attempts === attempt ? one : undefined
    })
    process.kill(run.pid as number, 'SIGKILL')
  }
  expect(await first.exited).toBe(1)
  expect(first.text()).toMatch(/failed: its trainer died 3 times, last while \w+: given up/)
}, 300_000)

test('Ctrl-C cancels the run; nothing half made is left. While it went on, every thread of it yielded to callers', async () => {
  const site = await makeTrainerSite()
  const night = train(site, '--generations', '500', '--only', 'policy')
  const control = site.control()
  const pid = await eventually('it searches', () => {
    const [run] = control.trainingRuns.list({ limit: 1 })
    return run?.phase === 'policy' ? run.pid : undefined
  })
  const threads = readdirSync(`/proc/${pid}/task`).map((thread) => readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8'))
  // The name in parentheses may hold blanks; fields are counted after it (proc(5): nice is the 19th).
  expect(threads.map((stat) => stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16])).toEqual(threads.map(() => '10'))
  night.kill('SIGINT')
  expect(await night.exited).toBe(1)
  expect(control.trainingRuns.list({ limit: 1 })).toMatchObject([{ state: 'cancelled', error: 'cancelled by command line' }])
  expect(modelFiles(site.dataDir)).toEqual({})
}, 300_000)

test('cancelled while profiles are fitted, a run does not wait for the fit', async () => {
  const site = await makeTrainerSite()
  const night = train(site, '--only', 'profiles')
  const control = site.control()
  await eventually('it fits', () => control.trainingRuns.list({ limit: 1 })[0]?.phase === 'profiles' || undefined)
  night.kill('SIGINT')
  expect(await night.exited).toBe(1)
  const [run] = control.trainingRuns.list({ limit: 1 })
  expect(run).toMatchObject({ state: 'cancelled', phase: 'profiles' })
  // What a finished fit would have said first.
  expect(control.trainingRuns.lines(run!.runId).map(({ text }) => text)).not.toContainEqual(expect.stringMatching(/^profile of /))
}, 300_000)

test('two trainers do not work at once: the second waits its turn and then finds its run done', async () => {
  const site = await makeTrainerSite()
  const { trainingRuns } = site.control()
  const one = train(site, '--only', 'profiles')
  await eventually('the first works', () => trainingRuns.list({ limit: 1 })[0]?.phase === 'profiles' || undefined)
  const other = train(site, '--only', 'profiles')
  expect(await Promise.all([one.exited, other.exited])).toEqual([0, 0])
  // Who waits says so once, and starts no trainer that could only leave again.
  expect(other.text().match(/run 1 is at work \(\w+, \d+ %\): run 2 waits for it/g)).toHaveLength(1)
  const runs = trainingRuns.list({ limit: 5 })
  expect(runs.map(({ state }) => state)).toEqual(['done', 'done'])
  const [second, first] = runs
  expect(second!.startedUnixMs!).toBeGreaterThanOrEqual(first!.endedUnixMs!)
}, 300_000)

test.each([
  ['no calls', [], /there are no calls from .*: choose another window/],
  ['too few calls', ROWS.slice(0, 50), /only 50 answered calls in this window; 400 are the least/],
])(
  'with %s the run fails with that word',
  async (_name, rows, words) => {
    const night = train(await makeTrainerSite(rows))
    expect(await night.exited).toBe(1)
    expect(night.text()).toMatch(words)
  },
  300_000,
)

test('a locked log is waited for or told; the run is recorded either way', async () => {
  const site = await makeTrainerSite()
  const database = new Database(databasePath(site.dataDir, 'log'))
  database.pragma('locking_mode = EXCLUSIVE')
  database.exec('BEGIN EXCLUSIVE')
  const night = train(site, '--only', 'profiles')
  const code = await night.exited
  database.exec('ROLLBACK')
  database.close()
  expect(code).toBe(1)
  expect(night.text()).toMatch(/a database is locked by another process: end what holds it, then run again/)
}, 300_000)
