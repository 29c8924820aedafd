import { existsSync } from 'node:fs'
import type { Call } from '../../plugin/call/call.ts'
import { LENGTH_PLAN } from '../../plugin/learning/length.ts'
import { crossValidate, foldsOf } from '../../plugin/learning/length-evaluation.ts'
import { caseOf, type LengthCase, promptTokensOf } from '../../plugin/learning/length-rows.ts'
import { createTwinLengths, inTwin, NO_LENGTHS, realCalls } from '../../plugin/learning/length-twin.ts'
import { BASE_FOLDER, readTextReader } from '../../plugin/learning/model-folder.ts'
import { readOpenRows } from '../../plugin/learning/open-rows.ts'
import type { LengthModel } from '../../plugin/prediction/length-model.ts'
import { createRunningLength } from '../../plugin/prediction/running-length.ts'
import { createRng } from '../../plugin/rng.ts'
import type { TwinPredictor } from '../../plugin/simulation/fleet/router-parts.ts'
import { profileNamed } from '../../plugin/simulation/profiles.ts'
import { instanceCallsPerS } from '../../plugin/simulation/saturation.ts'
import { parseArm, playArm } from '../../plugin/simulation/scenario/arm.ts'
import { type Scenario, sameMachines } from '../../plugin/simulation/scenario/scenarios.ts'
import { type BenchResult, progress, type Row } from './harness.ts'
import { estimate, meanOf, pairedGain } from './placement/statistics.ts'

/**
 * What predicting lengths is worth: mean E2E in the twin on the open sets' real prompts, placed by `impact` (and held by KV-time) with nothing
 * predicted, with the running mean, with the learned predictor in the loop (models that never saw the row, or never saw its set), with true lengths.
 */
const DATA = new URL('../../../shared/data/', import.meta.url).pathname
const SEED = 1
const CALLS = 2_000
const SEEDS = [1, 2, 3, 4]
const LOADS = [0.7, 0.95, 1.15]
/** Levels matter to coverage, not here; they would double the training. */
const PLAN = { ...LENGTH_PLAN, levelRowsRatio: 0 }
const FLEETS = { 'v100-paper ×4': sameMachines('v100-paper', 4), 'a100-7b ×4': sameMachines('a100-7b', 4) }
const ARMS = ['impact', 'impact + kv-time']

type ModelOf = (one: LengthCase) => LengthModel

interface Predictors {
  readonly seen: ModelOf
  readonly unseen: ModelOf
}

async function trainPredictors(cases: readonly LengthCase[]): Promise<Predictors> {
  const rng = createRng(SEED)
  const folds = foldsOf(cases, 5, rng.stream('folds'))
  const byFold = await crossValidate(cases, {
    partOf: (one) => folds.get(one)!,
    plan: PLAN,
    rng,
    told: (done) => progress(done, 5, 'models that miss a fifth of the rows'),
  })
  const bySet = await crossValidate(cases, {
    partOf: (one) => one.of.set,
    plan: PLAN,
    rng: createRng(SEED),
    told: (done) => progress(done, 5, 'models that miss a set'),
  })
  return { seen: (one) => byFold.models.get(folds.get(one)!)!, unseen: (one) => bySet.models.get(one.of.set)! }
}

/** What predicts, by the name it has in the table; each made anew for every run. */
function ways(of: readonly LengthCase[], { seen, unseen }: Predictors): Readonly<Record<string, () => TwinPredictor>> {
  const rowOf = ({ callId }: Call): LengthCase => of[callId]!
  return {
    none: () => NO_LENGTHS,
    'running mean': () => {
      const running = createRunningLength()
      return inTwin(() => running)
    },
    'ours, sets unseen': () => createTwinLengths((call) => unseen(rowOf(call))),
    ours: () => createTwinLengths((call) => seen(rowOf(call))),
  }
}

function scenarioOf(fleet: Scenario['fleet'], callsPerS: number): Scenario {
  return { name: 'real prompts', label: '', fleet, callsPerS, calls: () => [] }
}

/** Mean E2E, s, of each way by seed. */
function play(parts: {
  readonly cases: readonly LengthCase[]
  readonly predictors: Predictors
  readonly scenario: Scenario
  readonly arm: string
}): ReadonlyMap<string, number[]> {
  const { cases, predictors, scenario, arm } = parts
  const means = new Map<string, number[]>()
  const add = (way: string, meanE2eMs: number): void => void means.set(way, [...(means.get(way) ?? []), meanE2eMs / 1_000])
  for (const seed of SEEDS) {
    const { calls, of } = realCalls(cases, { calls: CALLS, callsPerS: scenario.callsPerS, rng: createRng(seed) })
    const given = { scenario, calls, seed }
    for (const [way, create] of Object.entries(ways(of, predictors)))
      add(way, playArm(parseArm(arm), { ...given, predictor: () => create() }).meanE2eMs)
    add('true lengths', playArm(parseArm(`oracle-${arm}`), given).meanE2eMs)
  }
  return means
}

/** Trains, plays and compares; a few minutes of one core. */
export async function run(): Promise<BenchResult> {
  if (!existsSync(DATA)) throw new Error(`the open sets are not there: ${DATA}`)
  const readText = readTextReader(BASE_FOLDER)
  const cases = (await readOpenRows(DATA, createRng(SEED).stream('rows'))).map((row, i) => caseOf(row, readText, i))
  const predictors = await trainPredictors(cases)
  const rows: Row[] = []
  const all = Object.keys(FLEETS).length * LOADS.length * ARMS.length
  for (const [name, fleet] of Object.entries(FLEETS)) {
    const profile = profileNamed(fleet[0]!.profile.name)
    const capacity = instanceCallsPerS(profile, (rng) => {
      const one = cases[rng.int(cases.length)]!
      return { promptTokens: promptTokensOf(one.call), outputTokens: Math.max(1, one.outputTokens) }
    })
    for (const load of LOADS)
      for (const arm of ARMS) {
        const scenario = scenarioOf(fleet, load * fleet.length * capacity)
        const means = play({ cases, predictors, scenario, arm })
        for (const [way, seconds] of means) rows.push(rowOf({ name, load, arm, way, seconds, none: means.get('none')! }))
        progress(rows.length / means.size, all, `${name} at ${load}, ${arm}`)
      }
  }
  return { rows, bars: [] }
}

function rowOf(parts: { name: string; load: number; arm: string; way: string; seconds: number[]; none: number[] }): Row {
  const { name, load, arm, way, seconds, none } = parts
  const gain = pairedGain(seconds, none)
  const percent = (value: number): string => (value * 100).toFixed(1)
  return {
    fleet: name,
    load,
    policy: arm,
    lengths: way,
    'mean E2E, s': Number(meanOf(seconds).toPrecision(4)),
    '± 95 %': Number((estimate(seconds).high - meanOf(seconds)).toPrecision(2)),
    'gain over none, %': way === 'none' ? '' : `${percent(gain.mean)} (${percent(gain.low)} to ${percent(gain.high)})`,
  }
}
