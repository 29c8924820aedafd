import type { LearnedModel } from '../placement/learned-model.ts'
import { createRng, type Rng } from '../rng.ts'
import type { MachineSpec } from '../simulation/fleet/machine.ts'
import { parseArm, playArm } from '../simulation/scenario/arm.ts'
import type { Score } from '../simulation/scenario/score.ts'
import { resampleBlocks, traceCalls } from '../simulation/scenario/trace-calls.ts'
import type { TraceCall } from '../simulation/traces.ts'

/** A challenger beside what serves and the plain rules, on the twin with later calls that no training saw. Gains are shares of mean E2E, above 0 is better. */
export interface PolicyVerdict {
  readonly passed: boolean
  readonly words: string
  /** Against what serves now: a champion, or the configured rule. This is what a canary is promised to show. */
  readonly gain: readonly [value: number, low: number, high: number]
  readonly gainVsLeastRequest: readonly [value: number, low: number, high: number]
  readonly bestRule: string
  readonly gainVsBestRule: readonly [value: number, low: number, high: number]
  /** TTFT p99 over what serves now and over least-request's. */
  readonly ttftP99Ratio: number
  readonly ttftP99VsLeastRequest: number
  readonly largestShare: number
  readonly calls: number
  readonly replays: number
  readonly arms: readonly {
    readonly arm: string
    readonly meanE2eMs: number
    readonly p99E2eMs: number
    readonly meanTtftMs: number
    readonly p99TtftMs: number
  }[]
}

export interface JudgingParts {
  readonly fleet: readonly MachineSpec[]
  readonly calls: readonly TraceCall[]
  /** What serves now, written as an arm; `learned` is the champion. */
  readonly serving: string
  /** How the challenger would serve, as an arm. */
  readonly learned: string
  readonly scrapeMs: number
  readonly champion: LearnedModel | undefined
  readonly challenger: LearnedModel
  readonly seed: number
  readonly told: (ratio: number) => Promise<void>
}

/** Rules that a challenger has to stand beside; holding where KV capacity is known is the default of a pool. */
export const BASELINES: readonly string[] = ['least-request', 'least-kv', 'impact', 'least-kv + kv-time']
/** Replays of the held-out calls, their minutes drawn anew in each, and the errors of length predictions too. */
const REPLAYS = 10
const SIGMA = 0.5
/** Two-sided 95 % of Student's t with REPLAYS − 1 degrees of freedom. */
const STUDENT = 2.262
const TTFT_P99_RATIO_MOST = 1.2
/** One instance of several may not draw nearly all. */
const SHARE_MOST = 0.95
const CALLS_LEAST = 200

/** Plays the held-out calls under every arm, the same calls and dice for all, and says whether the challenger may be promoted. */
export async function judgePolicy(parts: JudgingParts): Promise<PolicyVerdict> {
  const { fleet, calls, serving, champion, challenger, seed, told } = parts
  const arms = [...new Set([serving, ...BASELINES])]
  const scores = new Map<string, Score[]>([...arms, 'challenger'].map((arm) => [arm, []]))
  const rng = createRng(seed).stream('verdict')
  let done = 0
  for (let replay = 0; replay < REPLAYS; replay++) {
    const drawn = drawnCalls(calls, rng.stream(`replay ${replay}`))
    for (const [name, own] of scores) {
      const arm = parseArm(name === 'challenger' ? parts.learned : name)
      const model = name === 'challenger' ? challenger : champion
      const scenario = { name: 'held-out', label: 'held-out calls', fleet, callsPerS: Number.NaN, calls: () => drawn }
      own.push(playArm(arm, { scenario, calls: drawn, seed: replay, scrapeMs: parts.scrapeMs, ...(model ? { model } : {}) }))
      await told(++done / (REPLAYS * scores.size))
    }
  }
  return conclude({ scores, serving, calls: calls.length, instances: fleet.length })
}

function drawnCalls(calls: readonly TraceCall[], rng: Rng) {
  return traceCalls(resampleBlocks(calls, rng), { speed: 1, sigma: SIGMA, rng })
}

interface Concluding {
  readonly scores: ReadonlyMap<string, readonly Score[]>
  readonly serving: string
  readonly calls: number
  readonly instances: number
}

function conclude({ scores, serving, calls, instances }: Concluding): PolicyVerdict {
  const of = (arm: string): readonly Score[] => scores.get(arm) ?? []
  const mean = (arm: string, pick: (score: Score) => number): number =>
    of(arm).reduce((sum, score) => sum + pick(score), 0) / of(arm).length
  const gainOver = (arm: string) => paired(of(arm), of('challenger'))
  const bestRule = BASELINES.reduce((best, arm) => (mean(arm, meanE2e) < mean(best, meanE2e) ? arm : best))
  const gain = gainOver(serving)
  const gainVsLeastRequest = gainOver('least-request')
  const p99 = (arm: string): number => mean(arm, (score) => score.p99TtftMs)
  const ttftP99Ratio = p99('challenger') / p99(serving)
  const ttftP99VsLeastRequest = p99('challenger') / p99('least-request')
  const largestShare = Math.max(...of('challenger').map((score) => Math.max(...score.shares)))
  const lost = mean('challenger', (score) => score.lost) - mean(serving, (score) => score.lost)
  const reasons = [
    ...(calls < CALLS_LEAST ? [`only ${calls} held-out calls, ${CALLS_LEAST} are needed`] : []),
    ...(gain[1] > 0 ? [] : [`its gain over ${serving} is ${percent(gain[0])}, with a 95 % interval from ${percent(gain[1])}: not above 0`]),
    ...(gainVsLeastRequest[1] >= 0 ? [] : [`it may be worse than least-request (95 % interval from ${percent(gainVsLeastRequest[1])})`]),
    ...(Math.min(ttftP99Ratio, ttftP99VsLeastRequest) > TTFT_P99_RATIO_MOST
      ? [`its TTFT p99 is ${ttftP99Ratio.toFixed(2)} times that of ${serving}, ${ttftP99VsLeastRequest.toFixed(2)} times least-request's`]
      : []),
    ...(instances > 1 && largestShare > SHARE_MOST ? [`${percent(largestShare)} of the calls went to one instance`] : []),
    ...(lost > 0.001 * calls ? [`it loses ${lost.toFixed(0)} calls more`] : []),
  ]
  const better = `${percent(gain[0])} lower mean E2E than ${serving} (95 % interval ${percent(gain[1])} to ${percent(gain[2])}) on ${calls} later calls played in the twin`
  return {
    passed: reasons.length === 0,
    words: reasons.length === 0 ? better : `not promoted: ${reasons.join('; ')}`,
    gain,
    gainVsLeastRequest,
    bestRule,
    gainVsBestRule: gainOver(bestRule),
    ttftP99Ratio,
    ttftP99VsLeastRequest,
    largestShare,
    calls,
    replays: REPLAYS,
    arms: [...scores.keys()].map((arm) => ({
      arm,
      meanE2eMs: mean(arm, meanE2e),
      p99E2eMs: mean(arm, (score) => score.p99E2eMs),
      meanTtftMs: mean(arm, (score) => score.meanTtftMs),
      p99TtftMs: p99(arm),
    })),
  }
}

const meanE2e = (score: Score): number => score.meanE2eMs
const percent = (ratio: number): string => `${(100 * ratio).toFixed(1)} %`

/** 1 − challenger ÷ other by replay: mean and 95 % interval by Student's t over replays. */
function paired(others: readonly Score[], challengers: readonly Score[]): readonly [value: number, low: number, high: number] {
  const gains = others.map((other, i) => 1 - (challengers[i] as Score).meanE2eMs / other.meanE2eMs)
  const value = gains.reduce((sum, one) => sum + one, 0) / gains.length
  const variance = gains.reduce((sum, one) => sum + (one - value) ** 2, 0) / Math.max(1, gains.length - 1)
  const half = STUDENT * Math.sqrt(variance / gains.length)
  return [value, value - half, value + half]
}
