import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { systemClock } from './clock.ts'
import type { Config, ConfigParts } from './config.ts'
import { figureOf } from './learning/figure.ts'
import { concludeTrials } from './learning/trial-conclusion.ts'
import type { TrainingPlan } from './log/control/training.ts'
import { type Control, openControl } from './log/control.ts'
import { databasePath } from './log/migrate.ts'
import type { Intent } from './log/rows.ts'
import { FULL_EXIT, HELD_EXIT, type ParentMessage } from './main-child.ts'
import { startDriftWatch } from './main-drift.ts'
import { createSchedule } from './main-schedule.ts'
import { settle } from './main-settings.ts'
import type { Rng } from './rng.ts'

/** What keeps the nights: the schedule, what people asked for, and the trainer process. Lives in the supervisor. */
export interface NightWatch {
  /** Ends the trainer; a run under way is taken up again after the next start. */
  stop(): Promise<void>
}

export interface NightWatchParts {
  readonly config: Config
  /** What the trainer is to parse for itself. */
  readonly input: () => ConfigParts['input']
  readonly rng: Rng
  readonly print: (line: string) => void
}

/** How often intents, waiting runs and ended trials are looked for; one look costs a few dozen µs. */
const LOOK_MS = 1_000
/** A trainer that ended badly, or found another at work, is tried again after this. */
const AGAIN_MS = 5_000
/** Where the disk is full it is of no use to try more often than somebody can make room. */
const FULL_AGAIN_MS = 60_000
/** A run with a sign of life as young as this has a trainer, ours or one of the command line. */
const BEATS_MS = 15_000
/** The trainer gets this long to keep what it has. */
const LEAVE_MS = 3_000
/** Heap of the trainer; with code and buffers of the runtime it stays under 2 GB. */
const HEAP_MIB = 1_536

/** Starts the watch. Whatever fails in it is said and tried again: nothing here may end the supervisor. */
export function startNightWatch({ config, input, rng, print }: NightWatchParts): NightWatch {
  const control = openControl({ path: databasePath(config.dataDir, 'control'), clock: systemClock })
  const trainer = createTrainerKeeper({ input, print })
  let current = config
  const drift = startDriftWatch({ config: () => current, control, print })
  const guarded = (what: string, act: () => void): void => {
    try {
      act()
    } catch (error) {
      if (!/busy|locked/i.test(String(error))) print(`phasewise: ${what}: ${error instanceof Error ? error.message : error}`)
    }
  }
  const ask = (): void =>
    guarded('the schedule', () => {
      if (control.trainingRuns.unfinished().length > 0) return print('phasewise: the night is left out: a run waits or runs already')
      control.trainingRuns.append({ askedBy: 'schedule', plan: { trigger: 'schedule' } })
    })
  const schedule = createSchedule({ ask, rng })
  schedule.follow(current.night)
  let seen = JSON.stringify(control.settings.all())
  const followSettings = (): void => {
    const now = JSON.stringify(control.settings.all())
    if (now === seen) return
    seen = now
    // The router says what is wrong where they do not fit the file.
    const { config: settled, refused } = settle(input())
    if (refused !== undefined) return
    current = settled
    schedule.follow(current.night)
  }
  const look = (): void => {
    guarded('settings of the night', followSettings)
    guarded('what people asked of the night', () => obeyIntents(control))
    guarded('ended trials', () =>
      concludeTrials({
        control,
        dataDir: config.dataDir,
        promotes: current.night.canary.promote,
        figure: figureOf(current.night.objective),
        nowUnixMs: systemClock.nowUnixMs(),
      }),
    )
    guarded('the trainer', () => {
      const runs = control.trainingRuns.unfinished()
      const isOthers = runs.some((run) => run.state === 'running' && systemClock.nowUnixMs() - (run.beatUnixMs ?? 0) < BEATS_MS)
      if (runs.length > 0 && !isOthers) trainer.want()
    })
  }
  const timer = setInterval(look, LOOK_MS)
  return {
    async stop() {
      schedule.stop()
      clearInterval(timer)
      await trainer.stop()
      await drift.stop()
      control.close()
    },
  }
}

/** Kinds of intent that are the night's. */
export const NIGHT_INTENTS: readonly string[] = ['retrain', 'cancel']

function obeyIntents(control: Control): void {
  for (const intent of control.intents.open(NIGHT_INTENTS)) {
    try {
      control.intents.answer(intent.intentId, { state: 'done', text: obey(control, intent) })
    } catch (error) {
      control.intents.answer(intent.intentId, { state: 'refused', text: error instanceof Error ? error.message : String(error) })
    }
  }
}

interface Subject extends Partial<Omit<TrainingPlan, 'trigger'>> {
  readonly runId?: number
  readonly fromUnixMs?: number
  readonly toUnixMs?: number
}

function obey({ trainingRuns }: Control, { kind, subject, askedBy }: Intent): string {
  const { runId, fromUnixMs, toUnixMs, ...plan } = (subject ?? {}) as Subject
  if (kind === 'retrain') {
    const id = trainingRuns.append({ askedBy, plan: { trigger: 'admin', ...plan }, fromUnixMs, toUnixMs })
    return `run ${id} waits for the trainer`
  }
  if (typeof runId !== 'number') throw new Error('the intent names no run')
  if (!trainingRuns.cancel(runId, askedBy)) throw new Error(`run ${runId} had ended`)
  return `run ${runId} is told to stop`
}

interface TrainerKeeper {
  /** Starts a trainer unless one runs or has just failed. */
  want(): void
  stop(): Promise<void>
}

function createTrainerKeeper({ input, print }: Pick<NightWatchParts, 'input' | 'print'>): TrainerKeeper {
  let child: ChildProcess | undefined
  let notBeforeMs = Number.NEGATIVE_INFINITY
  return {
    want() {
      if (child || systemClock.nowMs() < notBeforeMs) return
      const own = spawnTrainer(input())
      child = own
      own.on('exit', (code, signal) => {
        child = undefined
        if (code === 0) return
        notBeforeMs = systemClock.nowMs() + (code === FULL_EXIT ? FULL_AGAIN_MS : AGAIN_MS)
        if (code !== HELD_EXIT) print(`phasewise: the trainer ended (${signal ?? `code ${code}`}); its run is taken up again`)
      })
      own.on('error', (error) => print(`phasewise: trainer: ${error.message}`))
    },
    async stop() {
      const own = child
      if (!own || own.exitCode !== null || own.signalCode !== null) return
      const gone = new Promise<void>((resolve) => own.once('exit', () => resolve()))
      own.kill('SIGTERM')
      const hard = setTimeout(() => own.kill('SIGKILL'), LEAVE_MS)
      await gone
      clearTimeout(hard)
    },
  }
}

/** Threads that collect garbage beside the trainer's own: with four, as Node has them, a night would take more than its one core now and then. */
const HELPERS = 1

/** A trainer process with this configuration; it works off what waits and ends. */
export function spawnTrainer(input: ConfigParts['input']): ChildProcess {
  const script = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? './main.ts' : './main.js', import.meta.url))
  const flags = ['--disable-warning=ExperimentalWarning', `--max-old-space-size=${HEAP_MIB}`, `--v8-pool-size=${HELPERS}`]
  const own = spawn(process.execPath, [...flags, script, 'role', 'trainer'], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  // One that ended before it could be told is seen by its 'exit'.
  own.send({ type: 'start', input, crashes: {}, line: { key: '', port: 0 } } satisfies ParentMessage, () => undefined)
  return own
}
