import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Score } from '../../../plugin/simulation/scenario/score.ts'
import { progress } from '../harness.ts'
import { type Done, keyOf, learnedVersion, storedArm, type Unit } from './work.ts'

export interface CrewOptions {
  readonly units: readonly Unit[]
  /** Every finished unit is a line here; units that stand here already are not played again. */
  readonly journal: string
  readonly workers: number
  readonly dataDir: string
  /** Folder of the model that learned arms decide by. */
  readonly modelFolder?: string
}

/** What a worker is told at its start. */
export type WorkerData = Pick<CrewOptions, 'dataDir' | 'modelFolder'>

/** Scores by unit key, then by arm. */
export type Scores = ReadonlyMap<string, ReadonlyMap<string, Score>>

/** Plays the units on worker threads. Stopped in the middle it goes on where it stood when run again. */
export async function playAll({ units, journal, workers, dataDir, modelFolder }: CrewOptions): Promise<Scores> {
  mkdirSync(dirname(journal), { recursive: true })
  const scores = readJournal(journal)
  const model = modelFolder === undefined ? 'none' : learnedVersion(modelFolder)
  const open = units.flatMap((unit) => {
    const arms = unit.arms.filter((arm) => !scores.get(keyOf(unit))?.has(storedArm(arm, model)))
    return arms.length === 0 ? [] : [{ ...unit, arms }]
  })
  const total = open.length
  let done = 0
  const take = (played: Done): void => {
    const finished = {
      ...played,
      scores: Object.fromEntries(Object.entries(played.scores).map(([arm, score]) => [storedArm(arm, model), score])),
    }
    appendFileSync(journal, `${JSON.stringify(finished)}\n`)
    book(scores, finished)
    progress(++done, total, `${finished.unit.scenario}, seed ${finished.unit.seed}`)
  }
  await Promise.all(
    Array.from({ length: Math.min(workers, total) }, () =>
      labour(open, take, { dataDir, ...(modelFolder === undefined ? {} : { modelFolder }) }),
    ),
  )
  return unstored(scores, model)
}

function labour(open: Unit[], take: (done: Done) => void, workerData: WorkerData): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData })
    const next = (): void => {
      const unit = open.shift()
      if (unit) worker.postMessage(unit)
      else void worker.terminate().then(() => resolve())
    }
    worker.on('message', (message: 'ready' | Done) => {
      if (message !== 'ready') take(message)
      next()
    })
    worker.once('error', reject)
  })
}

/** The scores by arm as it was asked for, learned ones of this model only. */
function unstored(scores: Scores, model: string): Scores {
  const suffix = storedArm('learned', model).slice('learned'.length)
  const own = (arms: ReadonlyMap<string, Score>): ReadonlyMap<string, Score> =>
    new Map(
      [...arms]
        .filter(([arm]) => !arm.startsWith('learned') || arm.endsWith(suffix))
        .map(([arm, score]) => [arm.startsWith('learned') ? arm.slice(0, -suffix.length) : arm, score]),
    )
  return new Map([...scores].map(([key, arms]) => [key, own(arms)]))
}

function readJournal(path: string): Map<string, Map<string, Score>> {
  const scores = new Map<string, Map<string, Score>>()
  if (!existsSync(path)) return scores
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    // The last line may be half a line: the run was stopped while it was written.
    if (!line.endsWith('}')) continue
    book(scores, JSON.parse(line) as Done)
  }
  return scores
}

function book(scores: Map<string, Map<string, Score>>, { unit, scores: found }: Done): void {
  const known = scores.get(keyOf(unit)) ?? new Map<string, Score>()
  for (const [arm, score] of Object.entries(found)) known.set(arm, score)
  scores.set(keyOf(unit), known)
}
