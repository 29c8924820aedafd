import { mkdirSync } from 'node:fs'
import { systemClock } from './clock.ts'
import type { Config, PoolConfig } from './config.ts'
import { failureWords, isDiskFull } from './learning/failure-words.ts'
import { type Made, type NightPool, runNight } from './learning/night.ts'
import { afterNight } from './learning/night-after.ts'
import { openDesk, RunCancelled } from './learning/night-desk.ts'
import type { TrainingRun } from './log/control/training.ts'
import { type Control, openControl } from './log/control.ts'
import { lockTrainer, TrainerHeld } from './log/lock.ts'
import { databasePath, migrateDatabase } from './log/migrate.ts'
import { openReader } from './log/read/reader.ts'
import { FULL_EXIT, HELD_EXIT, type ParentMessage } from './main-child.ts'
import { yieldToOthers } from './main-priority.ts'
import { settle } from './main-settings.ts'

/** Below everything that serves, and enough to finish on a machine that is never idle: at 19 a night gets a hundredth of a busy core. */
const NICENESS = 10
/** A run that died so often in its trainer is not taken up again: something in it kills trainers. */
const ATTEMPTS_MAX = 3
/** A log that another process has locked for longer than this is told, not waited for. */
const LOG_WAIT_MS = 5_000
/** A failed ending is written again this often while the database is locked, and given up after so long: the next trainer finds the run and says what it can. */
const ENDING_RETRY_MS = 1_000
const ENDING_PATIENCE_MS = 120_000

/** Why a trainer leaves before its run is over: its process was told to. The run is taken up again by the next one. */
class Interrupted extends Error {
  constructor() {
    super('interrupted; the next trainer goes on with this run')
    this.name = 'Interrupted'
  }
}

/**
 * The trainer process: works off the runs that wait or that a dead trainer left, one after another, and ends. Started by the schedule or by the command line, which
 * send the configuration first; leaves when they do.
 */
export function runTrainerRole(): void {
  const interrupted = new AbortController()
  const leave = (): void => interrupted.abort(new Interrupted())
  // Ctrl-C reaches the whole group; whoever started this one decides what it means.
  process.on('SIGINT', () => undefined)
  process.on('SIGTERM', leave)
  process.on('disconnect', leave)
  process.once('message', (message: ParentMessage) => {
    if (message.type !== 'start') return process.exit(0)
    yieldToOthers(NICENESS)
    workOff(settle(message.input).config, interrupted.signal).then(
      () => process.exit(0),
      (error: unknown) => {
        if (error instanceof TrainerHeld) process.exit(HELD_EXIT)
        if (isDiskFull(error)) {
          console.error(`phasewise: the trainer failed: ${failureWords(error)}`)
          process.exit(FULL_EXIT)
        }
        console.error('phasewise: the trainer failed:', error)
        process.exit(1)
      },
    )
  })
}

async function workOff(config: Config, interrupted: AbortSignal): Promise<void> {
  const { dataDir } = config
  mkdirSync(dataDir, { recursive: true })
  const lock = lockTrainer({ dataDir, holder: { pid: process.pid, sinceUnixMs: systemClock.nowUnixMs() } })
  migrateDatabase({ dataDir, name: 'control', nowUnixMs: systemClock.nowUnixMs() })
  const control = openControl({ path: databasePath(dataDir, 'control'), clock: systemClock })
  try {
    for (let run = nextRun(control); run && !interrupted.aborted; run = nextRun(control)) await take({ config, control, run, interrupted })
  } finally {
    control.close()
    lock.release()
  }
}

/** The oldest run that is to be done. We hold the lock, so that one that is called running has lost its trainer. */
function nextRun(control: Control): TrainingRun | undefined {
  for (const run of control.trainingRuns.unfinished()) {
    if (run.cancelAskedBy !== null) control.trainingRuns.end(run.runId, { state: 'cancelled', error: `cancelled by ${run.cancelAskedBy}` })
    else if (run.attempts >= ATTEMPTS_MAX) {
      const error = `its trainer died ${run.attempts} times, last while ${run.phase ?? 'starting'}: given up (is there memory and disk enough?)`
      control.trainingRuns.end(run.runId, { state: 'failed', error })
    } else return run
  }
  return undefined
}

interface Taking {
  readonly config: Config
  readonly control: Control
  readonly run: TrainingRun
  readonly interrupted: AbortSignal
}

async function take({ config, control, run, interrupted }: Taking): Promise<void> {
  const { dataDir } = config
  const { trainingRuns } = control
  if (!trainingRuns.start(run.runId, process.pid)) return
  const desk = openDesk({ runId: run.runId, runs: trainingRuns, dataDir, clock: systemClock, interrupted })
  try {
    if (run.attempts > 0)
      desk.say(`taken up again (attempt ${run.attempts + 1}): the trainer before ended while ${run.phase ?? 'starting'}`)
    migrateDatabase({ dataDir, name: 'log', nowUnixMs: systemClock.nowUnixMs(), lockWaitMs: LOG_WAIT_MS })
    const reader = openReader(databasePath(dataDir, 'log'))
    let made: readonly Made[]
    try {
      const pools = config.pools.map((pool) => poolOf(pool, config.scrape.intervalMs))
      made = await runNight({ run, desk, reader, control, dataDir, clock: systemClock, config: config.night, pools })
      desk.tell({ peakMiB: Math.round(process.resourceUsage().maxRSS / 1_024) })
      await afterNight({ control, reader, made, config: config.night, desk, asked: run.plan.trigger === 'schedule' })
    } finally {
      reader.close()
    }
    desk.clear()
    await ending(() => trainingRuns.end(run.runId, { state: 'done' }))
  } catch (error) {
    // Kept as running: the next trainer goes on with it.
    if (error instanceof Interrupted) return desk.say(error.message)
    const cancelled = error instanceof RunCancelled
    const words = failureWords(error)
    desk.say(cancelled ? words : `failed: ${words}`)
    desk.clear()
    await ending(() => trainingRuns.end(run.runId, { state: cancelled ? 'cancelled' : 'failed', error: words }))
  } finally {
    desk.close()
  }
}

/** Writes how a run ended, patiently: a locked database must not make a finished run look dead. */
async function ending(write: () => void): Promise<void> {
  const untilMs = systemClock.nowMs() + ENDING_PATIENCE_MS
  for (;;) {
    try {
      return write()
    } catch (error) {
      // A lock passes; a full disk is told by whoever started us, and the run is taken up again when there is room.
      if (systemClock.nowMs() > untilMs || isDiskFull(error)) throw error
      await new Promise((resolve) => setTimeout(resolve, ENDING_RETRY_MS))
    }
  }
}

/** What serves the pool by configuration, and how a learned policy would, as arms of the twin. */
function poolOf({ name, policy, hold, enginePriority }: PoolConfig, scrapeMs: number): NightPool {
  const order = hold.order === 'auto' ? 'kv-time' : hold.order
  // Where the operator named an order, or none, it stays; a learned policy then only places.
  const learned = hold.order === 'auto' && !enginePriority ? 'learned' : `learned + ${enginePriority ? 'off' : order}`
  if (policy === 'learned') return { name, arm: learned, learned, scrapeMs }
  if (enginePriority) return { name, arm: `${policy} + engine-priority`, learned, scrapeMs }
  return { name, arm: order === 'off' ? policy : `${policy} + ${order}`, learned, scrapeMs }
}
