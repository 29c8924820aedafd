import { mkdirSync } from 'node:fs'
import { Presets, SingleBar } from 'cli-progress'
import { systemClock } from './clock.ts'
import { failureWords, isDiskFull } from './learning/failure-words.ts'
import { madeBy, type TrainingPlan, type TrainingRun } from './log/control/training.ts'
import { type Control, openControl } from './log/control.ts'
import { lockTrainer, TrainerHeld } from './log/lock.ts'
import { databasePath, migrateDatabase } from './log/migrate.ts'
import { FULL_EXIT, HELD_EXIT, Unusable } from './main-child.ts'
import { configOf, readInput } from './main-config.ts'
import { embeddedConfig } from './main-embedded.ts'
import { spawnTrainer } from './main-night.ts'

export interface TrainCommand {
  readonly config: string
  readonly from?: string
  readonly to?: string
  readonly only?: 'length' | 'profiles' | 'policy'
  readonly generations?: number
  readonly minutes?: number
  readonly seed?: number
  readonly application?: string
}

/** How often the run's row is looked at. */
const LOOK_MS = 300
/** A trainer that died is followed by another after this. */
const AGAIN_MS = 3_000

/**
 * `phasewise train`: asks for a run, starts a trainer, and shows what it does until it ends. Ctrl-C cancels the run. A run that an earlier trainer left is finished first.
 * 0 when the run is done, else 1.
 */
export async function runTrain(command: TrainCommand): Promise<number> {
  try {
    return await train(command)
  } catch (error) {
    if (isDiskFull(error)) throw new Unusable(failureWords(error))
    throw error
  }
}

async function train(command: TrainCommand): Promise<number> {
  const input = readInput(command.config) ?? embeddedConfig([])
  const { dataDir } = configOf(input)
  mkdirSync(dataDir, { recursive: true })
  migrateDatabase({ dataDir, name: 'control', nowUnixMs: systemClock.nowUnixMs() })
  const control = openControl({ path: databasePath(dataDir, 'control'), clock: systemClock })
  const { trainingRuns } = control
  const [fromUnixMs, toUnixMs] = [timeOf(command.from, '--from'), timeOf(command.to, '--to')]
  if (fromUnixMs !== undefined && toUnixMs !== undefined && fromUnixMs >= toUnixMs)
    throw new Unusable(`--from ${command.from} is not before --to ${command.to}: turn them round`)
  const runId = trainingRuns.append({ askedBy: 'command line', plan: planOf(command), fromUnixMs, toUnixMs })
  const shown = createShow(control, runId)
  const cancel = (): void => {
    if (trainingRuns.cancel(runId, 'command line')) shown.say(`run ${runId} is told to stop: it does so within seconds`)
  }
  process.on('SIGINT', cancel)
  process.on('SIGTERM', cancel)
  try {
    await trainUntilEnd(() => spawnTrainer(input), { control, dataDir, runId, show: shown })
  } finally {
    shown.stop()
    process.off('SIGINT', cancel)
    process.off('SIGTERM', cancel)
  }
  const run = trainingRuns.get(runId) as TrainingRun
  printResult(control, run)
  control.close()
  return run.state === 'done' ? 0 : 1
}

function planOf({ only, generations, minutes, seed, application }: TrainCommand): TrainingPlan {
  if (generations !== undefined && minutes !== undefined) throw new Unusable('--generations or --minutes, not both')
  const given = { only, generations, minutes, seed, application }
  return { trigger: 'command', ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) }
}

async function trainUntilEnd(
  start: () => ReturnType<typeof spawnTrainer>,
  { control, dataDir, runId, show }: { readonly control: Control; readonly dataDir: string; readonly runId: number; readonly show: Show },
): Promise<void> {
  const { look, say } = show
  const isOver = (): boolean => !['waiting', 'running'].includes(control.trainingRuns.get(runId)?.state ?? 'failed')
  let told: number | undefined
  while (!isOver()) {
    const other = othersRun(control, dataDir)
    if (other) {
      if (told !== other.runId) say(othersWords(other, runId))
      told = other.runId
      await pause(LOOK_MS)
      look()
      continue
    }
    const child = start()
    const exited = new Promise<number | null>((resolve) => {
      child.once('exit', (code) => resolve(code))
      child.once('error', () => resolve(1))
    })
    const timer = setInterval(() => {
      const left = leftBefore(control, runId)
      if (left && told !== left.runId)
        say(`run ${left.runId}, which a trainer before left unfinished, is done first; run ${runId} waits for it`)
      told = left?.runId ?? told
      look()
    }, LOOK_MS)
    const code = await exited
    clearInterval(timer)
    look()
    if (isOver()) return
    // The trainer has said so; the run waits in the registry for a disk with room.
    if (code === FULL_EXIT) throw new Unusable('the run could not be made; it is taken up again by the next trainer')
    // Held: a trainer of somebody else was quicker, and is soon seen at work.
    const waitMs = code === HELD_EXIT ? LOOK_MS : AGAIN_MS
    for (let waitedMs = 0; waitedMs < waitMs && !isOver(); waitedMs += LOOK_MS) {
      await pause(LOOK_MS)
      look()
    }
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** The run that our trainer works off before ours; undefined once ours is in hand. */
const leftBefore = (control: Control, runId: number): TrainingRun | undefined =>
  control.trainingRuns.unfinished().find((run) => run.state === 'running' && run.runId < runId)

/** The run that a trainer of somebody else has in hand; undefined where none is at work. Only the trainers' lock tells: a busy trainer may be silent for a while. */
function othersRun(control: Control, dataDir: string): TrainingRun | undefined {
  const run = control.trainingRuns.unfinished().find(({ state }) => state === 'running')
  if (!run) return undefined
  try {
    lockTrainer({ dataDir, holder: { pid: process.pid, sinceUnixMs: systemClock.nowUnixMs() } }).release()
    return undefined
  } catch (error) {
    if (error instanceof TrainerHeld) return run
    throw error
  }
}

const othersWords = (other: TrainingRun, runId: number): string =>
  other.runId === runId
    ? `a trainer that was at work already makes run ${runId}; Ctrl-C cancels it all the same`
    : `run ${other.runId} is at work (${other.phase ?? 'starting'}, ${Math.round(100 * other.progressRatio)} %): run ${runId} waits for it`

/** A bar on stderr, with lines above it. */
interface Show {
  /** Shows where the run is, and the lines it has said since. */
  look(): void
  say(text: string): void
  stop(): void
}

function createShow(control: Control, runId: number): Show {
  const isTerminal = process.stderr.isTTY === true
  const bar = new SingleBar({ format: '{bar} {percentage} % · {phase}', stream: process.stderr, hideCursor: true }, Presets.shades_classic)
  let line = -1
  const say = (text: string): void => {
    if (isTerminal) process.stderr.write('\r\u001b[2K')
    console.error(text)
  }
  if (isTerminal) bar.start(100, 0, { phase: 'waiting' })
  return {
    look() {
      const run = control.trainingRuns.get(runId)
      for (const one of control.trainingRuns.lines(runId, line)) {
        line = one.line
        say(one.text)
      }
      if (run && isTerminal) bar.update(Math.round(100 * run.progressRatio), { phase: run.phase ?? run.state })
    },
    say,
    stop: () => bar.stop(),
  }
}

function printResult(control: Control, run: TrainingRun): void {
  const { runId, state, error } = run
  console.log(`run ${runId}: ${state}${error === null ? '' : `: ${error}`}`)
  for (const model of madeBy(run, control.models.list())) {
    const [verdict] = control.models.verdicts(model.modelId)
    console.log(`  ${model.kind} ${model.version}: ${verdict?.words ?? 'not judged'}`)
    if (verdict?.passed === 1) console.log(`    npm run phasewise -- models promote ${model.version}`)
  }
}

function timeOf(text: string | undefined, option: string): number | undefined {
  if (text === undefined) return undefined
  const unixMs = /^\d{10,}$/.test(text) ? Number(text) : Date.parse(text)
  if (Number.isNaN(unixMs)) throw new Unusable(`${option}: ${JSON.stringify(text)} is no time; write 2026-01-31T12:00:00Z or Unix ms`)
  return unixMs
}
