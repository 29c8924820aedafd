import type { LearnedModel } from '../placement/learned-model.ts'
import { LEARNED } from '../placement/policies.ts'
import { calibrateFleet } from './log-replay/calibrate.ts'
import { replayUnder } from './log-replay/log-replay.ts'
import type { ServedCall, ServedInstance } from './log-replay/traffic.ts'
import { intervalOf, pairedGain } from './paired.ts'
import { type Arm, nameOf, parseArm, playArm } from './scenario/arm.ts'
import { generatedScenarios } from './scenario/scenarios.ts'
import type { Score } from './scenario/score.ts'

/** One arm under one load as it came out; times in ms. */
export interface PlayedArm {
  readonly load: number
  readonly arm: string
  readonly meanE2eMs: number
  readonly lowE2eMs: number | null
  readonly highE2eMs: number | null
  readonly p50E2eMs: number
  readonly p95E2eMs: number
  readonly p99E2eMs: number
  readonly meanTtftMs: number
  readonly p99TtftMs: number
  readonly meanHeldMs: number
  readonly lost: number
  readonly gain?: { readonly mean: number; readonly low: number | null; readonly high: number | null }
}

/** What a comparison came to. */
export interface Played {
  readonly label: string
  readonly calls: number
  readonly samples: number
  readonly sampleName: 'seeds' | 'blocks of time'
  readonly fleet: readonly string[]
  readonly rows: readonly PlayedArm[]
}

/** How far it is; given out before each unit of work, so that whoever drives it can stop it there. */
export interface LabStep {
  readonly doneRatio: number
  readonly says: string
}

/** What is compared under which loads; the first arm is what the others are compared with. */
export interface Comparison {
  readonly arms: readonly string[]
  readonly loads: readonly number[]
  /** What an arm's policy stands for that is no rule, by the name that the arm calls it: the learned policy with this model. */
  readonly models?: ReadonlyMap<string, LearnedModel>
}

/** An arm as it is played. Throws on an unknown order of holding. */
function armOf(text: string, models: Comparison['models']): { readonly arm: Arm; readonly model?: LearnedModel } {
  const arm = parseArm(text)
  const model = models?.get(arm.policy)
  return model ? { arm: { ...arm, policy: LEARNED }, model } : { arm }
}

interface Sampled {
  readonly score: Score
  /** Mean E2E by sample; NaN where a sample has no answered call. */
  readonly means: readonly number[]
}

/** Plays a named scenario, its calls drawn anew for each seed, the same for every arm. Throws on an unknown scenario or arm. */
export function* compareOnScenario(given: Comparison & { readonly name: string; readonly seeds: number }): Generator<LabStep, Played> {
  const { arms, loads, seeds, name, models } = given
  const parsed = arms.map((text) => armOf(text, models))
  yield { doneRatio: 0, says: 'drawing calls' }
  const scenario = generatedScenarios().find((one) => one.name === name)
  if (!scenario) throw new Error(`there is no scenario ${name}`)
  const units = loads.length * seeds * arms.length
  let done = 0
  const rows: PlayedArm[] = []
  for (const load of loads) {
    const scores = arms.map((): Score[] => [])
    for (let seed = 1; seed <= seeds; seed++) {
      const calls = scenario.calls({ seed, rateFactor: load })
      for (const [i, { arm, model }] of parsed.entries()) {
        yield { doneRatio: done++ / units, says: `${arms[i]} at load ${load}, seed ${seed} of ${seeds}` }
        scores[i]?.push(playArm(arm, { scenario, calls, seed, ...(model ? { model } : {}) }))
      }
    }
    const sampled = scores.map((own): Sampled => ({ score: averageScore(own), means: own.map((score) => score.meanE2eMs) }))
    rows.push(...rowsOf(load, arms, sampled))
  }
  return {
    label: `${scenario.name}: ${scenario.label}`,
    calls: scenario.calls({ seed: 1 }).length,
    samples: seeds,
    sampleName: 'seeds',
    fleet: scenario.fleet.map((one) => `${one.name}: ${one.profile.name}`),
    rows,
  }
}

/** Blocks that stored calls are cut into, in order of arrival: enough for an interval, each long enough to hold many calls. */
const BLOCKS = 20

/**
 * Plays stored calls once per load and arm in a copy of the fleet calibrated on them. Intervals are over blocks of calls in order of arrival, paired between
 * arms; neighbouring blocks share their queues, so that they are a little too narrow under heavy load. Other loads move the arrivals together or apart.
 */
export function* compareOnStored(
  given: Comparison & {
    readonly label: string
    readonly calls: readonly ServedCall[]
    readonly instances: readonly ServedInstance[]
    readonly countedFromUnixMs: number
  },
): Generator<LabStep, Played> {
  const { arms, loads, calls, instances, countedFromUnixMs, label, models } = given
  yield { doneRatio: 0, says: 'finding the engine that explains each instance' }
  const calibrated = calibrateFleet(instances, calls)
  const fleet = calibrated.map((one) => one.spec)
  const counted = calls.filter((call) => call.arrivedUnixMs >= countedFromUnixMs)
  const rows: PlayedArm[] = []
  let done = 0
  for (const load of loads) {
    const paced = atLoad(calls, load)
    const startUnixMs = calls[0]?.arrivedUnixMs ?? 0
    const fromUnixMs = startUnixMs + Math.round((countedFromUnixMs - startUnixMs) / load)
    const blockOf = blocks(paced, fromUnixMs)
    const sampled: Sampled[] = []
    for (const text of arms) {
      yield { doneRatio: (1 + done++) / (1 + loads.length * arms.length), says: `${text} at load ${load}` }
      const { arm, model } = armOf(text, models)
      const sums = Array.from({ length: BLOCKS }, () => ({ ms: 0, calls: 0 }))
      const input = { calls: paced, fleet, countedFromUnixMs: fromUnixMs, ...(model ? { model } : {}) }
      const score = replayUnder(nameOf(arm), input, (end, call) => {
        const sum = sums[blockOf.get(call) ?? -1]
        if (!sum || end.ending !== 'completed') return
        sum.ms += end.endedMs - end.arrivedMs
        sum.calls++
      })
      sampled.push({ score, means: sums.map((sum) => sum.ms / sum.calls) })
    }
    rows.push(...rowsOf(load, arms, sampled))
  }
  return {
    label,
    calls: counted.length,
    samples: BLOCKS,
    sampleName: 'blocks of time',
    fleet: calibrated.map((one) => fleetLine(one)),
    rows,
  }
}

function fleetLine({ spec, calls, e2eError }: ReturnType<typeof calibrateFleet>[number]): string {
  const off = `${e2eError >= 0 ? '+' : '−'}${Math.abs(100 * e2eError).toFixed(1)} %`
  return `${spec.name}: like ${spec.profile.name}, ${calls === 0 ? 'a guess, it served nothing' : `mean E2E ${off} on ${calls} calls`}`
}

/** The same calls, arriving `load` times as fast. */
function atLoad(calls: readonly ServedCall[], load: number): ServedCall[] {
  const startUnixMs = calls[0]?.arrivedUnixMs ?? 0
  return load === 1
    ? [...calls]
    : calls.map((call) => ({ ...call, arrivedUnixMs: startUnixMs + Math.round((call.arrivedUnixMs - startUnixMs) / load) }))
}

function blocks(calls: readonly ServedCall[], countedFromUnixMs: number): Map<ServedCall, number> {
  const counted = calls.filter((call) => call.arrivedUnixMs >= countedFromUnixMs)
  return new Map(counted.map((call, i) => [call, Math.floor((i * BLOCKS) / counted.length)]))
}

function rowsOf(load: number, arms: readonly string[], sampled: readonly Sampled[]): PlayedArm[] {
  const [base] = sampled
  return sampled.map(({ score, means }, i) => {
    const own = intervalOf(means.filter((mean) => Number.isFinite(mean)))
    const { p50E2eMs, p95E2eMs, p99E2eMs, meanTtftMs, p99TtftMs, meanHeldMs, lost, meanE2eMs } = score
    return {
      load,
      arm: arms[i] ?? '',
      meanE2eMs,
      lowE2eMs: own.low,
      highE2eMs: own.high,
      p50E2eMs,
      p95E2eMs,
      p99E2eMs,
      meanTtftMs,
      p99TtftMs,
      meanHeldMs,
      lost,
      ...(i === 0 || !base ? {} : { gain: pairedGain(means, base.means) }),
    }
  })
}

/** The mean of every figure over the seeds. */
function averageScore(scores: readonly Score[]): Score {
  const first = scores[0] as Score
  const mean = (pick: (score: Score) => number): number => scores.reduce((sum, score) => sum + pick(score), 0) / scores.length
  const numbers = Object.fromEntries(
    Object.entries(first).flatMap(([key, value]) =>
      typeof value === 'number' ? [[key, mean((score) => score[key as keyof Score] as number)]] : [],
    ),
  )
  return { ...first, ...numbers }
}
