import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../clock.ts'
import type { RunPhase, TrainingPoint, TrainingRuns } from '../log/control/training.ts'
import { isDiskFull } from './failure-words.ts'

/** Somebody asked that the run stops; `by` whom. */
export class RunCancelled extends Error {
  readonly by: string
  constructor(by: string) {
    super(`cancelled by ${by}`)
    this.name = 'RunCancelled'
    this.by = by
  }
}

/** There is nothing to learn from, in words that say what is lacking. */
export class NothingToLearn extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'NothingToLearn'
  }
}

/** Where a run tells what it does, keeps what it has finished, and hears that it is to stop. */
export interface NightDesk {
  readonly runId: number
  /** A line of the run's log. */
  say(text: string): void
  plot(points: readonly TrainingPoint[]): void
  /** `ratio` within the phase, 0..1. */
  progress(phase: RunPhase, ratio: number): void
  /** Adds to what is shown of the run as JSON. */
  tell(facts: Readonly<Record<string, unknown>>): void
  /** Gives way to other work of the process; throws RunCancelled, or the reason it was interrupted for. To be called every second or so of work. */
  breathe(): Promise<void>
  /** Aborted with the reason of `breathe`. */
  readonly signal: AbortSignal
  /** What an earlier attempt of this very run finished under this name; undefined where there is none or it is damaged. */
  kept<T>(name: string): T | undefined
  /** Keeps a finished piece for the case that this process dies: whole on disk, or not at all. */
  keep(name: string, value: unknown): void
  /** Folder for a piece that is files; the same in every attempt. */
  readonly folder: string
  /** Throws away what was kept: the run is over. */
  clear(): void
  close(): void
}

/** Share of the whole that each phase is, as it was on a day of the demo; only the bar goes by it. */
const PHASES: readonly (readonly [phase: RunPhase, share: number])[] = [
  ['reading', 0.1],
  ['profiles', 0.1],
  ['length', 0.25],
  ['policy', 0.4],
  ['evaluating', 0.13],
  ['registering', 0.02],
]

/** A sign of life and a look whether the run is to stop, this often. */
const BEAT_MS = 500

/** A desk for one run. `interrupted` is aborted when the process itself has to go: the run is then taken up again by the next trainer. */
export function openDesk(parts: {
  readonly runId: number
  readonly runs: TrainingRuns
  readonly dataDir: string
  readonly clock: Clock
  readonly interrupted: AbortSignal
}): NightDesk {
  const { runId, runs, clock, interrupted } = parts
  const folder = join(parts.dataDir, 'training', `run-${runId}`)
  mkdirSync(folder, { recursive: true })
  const stop = new AbortController()
  const signal = AbortSignal.any([stop.signal, interrupted])
  let facts: Record<string, unknown> = JSON.parse(runs.get(runId)?.detail ?? '{}') as Record<string, unknown>
  let phase: RunPhase = 'reading'
  let ratio = 0
  let toldMs = Number.NEGATIVE_INFINITY
  const look = (): void => {
    if (signal.aborted || tolerant(() => runs.beat(runId)) !== false) return
    stop.abort(new RunCancelled(runs.get(runId)?.cancelAskedBy ?? 'somebody'))
  }
  const timer = setInterval(look, BEAT_MS)
  const show = (): void => {
    toldMs = clock.nowMs()
    tolerant(() => runs.progress(runId, { phase, progressRatio: overall(phase, ratio), detail: JSON.stringify(facts) }))
  }
  return {
    runId,
    signal,
    folder,
    say: (text) => void tolerant(() => runs.say(runId, text)),
    plot: (points) => void tolerant(() => runs.plot(runId, points)),
    progress(now, within) {
      const isNew = now !== phase
      phase = now
      ratio = Math.min(1, Math.max(0, within))
      if (isNew || clock.nowMs() - toldMs > BEAT_MS) show()
    },
    tell(more) {
      facts = { ...facts, ...more }
      show()
    },
    async breathe() {
      await new Promise((resolve) => setImmediate(resolve))
      if (clock.nowMs() - toldMs > BEAT_MS) look()
      signal.throwIfAborted()
    },
    kept<T>(name: string) {
      const path = join(folder, name)
      if (!existsSync(path)) return undefined
      try {
        return JSON.parse(readFileSync(path, 'utf8')) as T
      } catch {
        // A damaged piece is made again.
        return undefined
      }
    },
    keep(name, value) {
      writeFileSync(join(folder, `${name}.half`), JSON.stringify(value))
      renameSync(join(folder, `${name}.half`), join(folder, name))
    },
    clear: () => rmSync(folder, { recursive: true, force: true }),
    close: () => clearInterval(timer),
  }
}

function overall(phase: RunPhase, ratio: number): number {
  let before = 0
  for (const [name, share] of PHASES) {
    if (name === phase) return before + share * ratio
    before += share
  }
  return before
}

/** Lines, curves and signs of life are for show: while somebody else writes control.sqlite, or the disk is full, they are left out, and the training goes on. */
function tolerant<T>(act: () => T): T | undefined {
  try {
    return act()
  } catch (error) {
    if (isDiskFull(error) || (error instanceof Error && /busy|locked/i.test(error.message))) return undefined
    throw error
  }
}
