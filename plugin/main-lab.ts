import { setImmediate } from 'node:timers/promises'
import { systemClock } from './clock.ts'
import { basePolicy, loadPolicy } from './learning/serving-models.ts'
import { LAB_LEARNED, type LabPlan, type LabResult, labVersion } from './log/control/lab.ts'
import type { Models } from './log/control/models.ts'
import { openControl } from './log/control.ts'
import { databasePath } from './log/migrate.ts'
import { openReader } from './log/read/reader.ts'
import { readTraffic, readTrafficFleet } from './log/read/traffic.ts'
import { yieldToOthers } from './main-priority.ts'
import type { LearnedModel } from './placement/learned-model.ts'
import { compareOnScenario, compareOnStored, type LabStep } from './simulation/lab.ts'

/** Below everything that serves. */
const NICENESS = 15

/** Calls before the range that are played and not counted, so that queues and policies are warm when it begins. */
const WARM_UP_MS = 10 * 60_000

/** Stored calls of one run: a minute or so per arm. Chosen: more tells no more. */
const CALLS_MAX = 100_000

/** `phasewise lab-run`: plays one run that the Lab asked for, in a process of its own at low priority, and writes down what it came to. Returns the exit code. */
export async function runLab(given: { readonly dataDir: string; readonly runId: number }): Promise<number> {
  const { dataDir, runId } = given
  yieldToOthers(NICENESS)
  const control = openControl({ path: databasePath(dataDir, 'control'), clock: systemClock })
  const { labRuns } = control
  try {
    const run = labRuns.get(runId)
    if (!run || !labRuns.start(runId, process.pid)) return 1
    const models = modelsOf(run.plan, control.models, dataDir)
    const result = await drive(playOf(run.plan, dataDir, models), (step) =>
      labRuns.progress(runId, { progressRatio: step.doneRatio, says: step.says }),
    )
    if (result) labRuns.finish(runId, result)
    else labRuns.end(runId, { state: 'cancelled', error: `cancelled by ${labRuns.get(runId)?.cancelAskedBy ?? 'somebody'}` })
    return 0
  } catch (error) {
    labRuns.end(runId, { state: 'failed', error: error instanceof Error ? error.message : String(error) })
    return 1
  } finally {
    control.close()
  }
}

/** Undefined when `told` says stop. */
async function drive(play: Generator<LabStep, LabResult>, told: (step: LabStep) => boolean): Promise<LabResult | undefined> {
  for (let next = play.next(); ; next = play.next()) {
    if (next.done) return next.value
    if (!told(next.value)) return undefined
    await setImmediate()
  }
}

/** The models that the plan's arms name, by the names they have there. Throws in words where one is gone or unfit. */
function modelsOf({ arms }: LabPlan, registry: Models, dataDir: string): ReadonlyMap<string, LearnedModel> {
  const names = arms.map((arm) => arm.split(' + ')[0] ?? '')
  const models = new Map<string, LearnedModel>()
  for (const name of new Set(names)) {
    if (name === LAB_LEARNED) models.set(name, basePolicy())
    else if (name.startsWith(labVersion(''))) {
      const version = name.slice(labVersion('').length)
      const record = registry.byVersion('policy', version)
      if (!record) throw new Error(`there is no policy version ${version} in the registry any more`)
      models.set(name, loadPolicy(dataDir, record))
    }
  }
  return models
}

function playOf(plan: LabPlan, dataDir: string, models: ReadonlyMap<string, LearnedModel>): Generator<LabStep, LabResult> {
  const { source, arms, loads, seeds } = plan
  if (source.kind === 'scenario') return compareOnScenario({ arms, loads, seeds, name: source.name, models })
  const { pool, fromUnixMs, toUnixMs } = source
  const range = { fromUnixMs: fromUnixMs - WARM_UP_MS, toUnixMs }
  const reader = openReader(databasePath(dataDir, 'log'))
  try {
    const { calls, instances } = reader.read((query) => ({
      calls: readTraffic(query, pool, range),
      instances: readTrafficFleet(query, pool, range),
    }))
    const counted = calls.filter((call) => call.arrivedUnixMs >= fromUnixMs).length
    if (counted === 0) throw new Error(`pool ${pool} has no stored calls in this time`)
    if (counted > CALLS_MAX) throw new Error(`${counted} calls are in this time; choose a shorter one, at most ${CALLS_MAX}`)
    const day = (unixMs: number): string => new Date(unixMs).toISOString().slice(0, 16).replace('T', ' ')
    const label = `stored calls of ${pool}, ${day(fromUnixMs)} to ${day(toUnixMs)} UTC`
    return compareOnStored({ arms, loads, label, calls, instances, countedFromUnixMs: fromUnixMs, models })
  } finally {
    reader.close()
  }
}
