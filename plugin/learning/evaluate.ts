import type { EngineShape } from '../impact/engine-shape.ts'
import type { LearnedModel } from '../placement/learned-model.ts'
import { createRng, type Rng } from '../rng.ts'
import type { MachineSpec } from '../simulation/fleet/machine.ts'
import type { TwinCall } from '../simulation/fleet/twin-call.ts'
import { AS_LOGGED, replayUnder } from '../simulation/log-replay/log-replay.ts'
import { asTwinCalls, type ServedCall } from '../simulation/log-replay/traffic.ts'
import { parseArm, playArm } from '../simulation/scenario/arm.ts'
import type { Score } from '../simulation/scenario/score.ts'
import { type Gain, pairedGain } from './evaluate-intervals.ts'
import { type Figure, MEAN_E2E } from './figure.ts'
import { type BlockPlan, type ForetoldBlocks, foretellBlocks } from './foretold-blocks.ts'
import { decide, type Evidence, type GateVerdict, type SliceGain } from './gate.ts'
import { BUCKET_NAMES, bucketOf } from './measures.ts'

/** Who is compared: an arm of the twin as it is written, and what `learned` in it decides by. */
export interface Contender {
  readonly arm: string
  /** What it is called where the arm's name does not tell: a version. */
  readonly name?: string
  readonly model?: LearnedModel
  /** What it takes an instance's engine for; the calibrated profile by default. */
  readonly believes?: (name: string) => EngineShape
}

export interface EvaluationParts {
  /** With calibrated profiles. */
  readonly fleet: readonly MachineSpec[]
  /** Later calls that no training saw, in order of arrival. */
  readonly calls: readonly ServedCall[]
  readonly serving: Contender
  readonly challenger: Contender
  readonly scrapeMs: number
  /** One way between router and instance, ms; half of a profile's overhead. 0 by default. */
  readonly networkMs?: number
  readonly seed: number
  /** What arms are compared by; mean E2E by default. */
  readonly figure?: Figure
  /** How a canary would be cut into blocks: then it is foretold how many it needs. */
  readonly canary?: BlockPlan
  /** Other pools that the challenger would serve too: each is one more slice. */
  readonly others?: readonly OtherPool[]
  /** Told between plays, 0..1; may throw to stop. */
  readonly told?: (ratio: number) => Promise<void>
}

/** A pool that the challenger was not trained for. */
export interface OtherPool extends Pick<EvaluationParts, 'fleet' | 'calls' | 'serving' | 'challenger' | 'networkMs'> {
  readonly pool: string
}

/** One arm on the held-out calls, means over the replays. */
export interface ArmScore {
  readonly arm: string
  readonly meanE2eMs: number
  readonly p99E2eMs: number
  readonly meanTtftMs: number
  readonly p99TtftMs: number
  readonly largestShare: number
  readonly lost: number
  /** Share of the calls that were answered in time. */
  readonly withinLimits: number
}

/** Evidence, verdict and what they rest on. Plain JSON. */
export interface Evaluation extends Evidence, GateVerdict {
  readonly bestRule: string
  readonly gainVsBestRule: Gain
  readonly replays: number
  readonly arms: readonly ArmScore[]
  readonly canary?: ForetoldBlocks
}

/** Rules that a challenger has to stand beside; holding where memory is known is a pool's default. */
export const BASELINE_ARMS: readonly string[] = ['least-request', 'least-kv', 'impact', 'least-kv + kv-time']
/** Replays of the held-out calls: the calls as they came, then their minutes drawn anew. */
export const REPLAYS = 8
/** Of each other pool: half, since it only has to be no worse. */
const POOL_REPLAYS = 4
const DRAWN_MS = 60_000
const CHALLENGER = 'challenger'

interface Play {
  readonly score: Score
  /** By call; NaN where it was not answered whole. */
  readonly figures: Float64Array
}

/** Plays the held-out calls under what serves, the challenger and the plain rules, the same calls and dice for all, and decides by the gate. */
export async function evaluate(parts: EvaluationParts): Promise<Evaluation> {
  const { calls, serving, challenger, seed, told } = parts
  const rng = createRng(seed).stream('evaluation')
  const contenders = new Map<string, Contender>([
    ['serving', serving],
    ...BASELINE_ARMS.map((arm) => [arm, { arm }] as const),
    [CHALLENGER, challenger],
  ])
  const plays = new Map([...contenders.keys()].map((name) => [name, [] as Play[]]))
  const drawn: (readonly ServedCall[])[] = []
  for (let replay = 0; replay < REPLAYS; replay++) {
    const own = replay === 0 ? calls : drawMinutes(calls, rng.stream(`replay ${replay}`))
    drawn.push(own)
    const twin = asTwinCalls(own, own[0]?.arrivedUnixMs ?? 0)
    for (const [name, contender] of contenders) {
      plays.get(name)?.push(play(contender, { parts, twin, replay }))
      await told?.((replay * contenders.size + [...contenders.keys()].indexOf(name) + 1) / (REPLAYS * contenders.size))
    }
  }
  const others = (parts.others ?? []).map((other) => poolSlice(other, { parts, rng: rng.stream(`pool ${other.pool}`) }))
  return conclude({ parts, plays, drawn, rng, others })
}

/** Gain over what serves another pool, by the same replays. */
function poolSlice({ pool, ...other }: OtherPool, { parts, rng }: { readonly parts: EvaluationParts; readonly rng: Rng }): SliceGain {
  const runs = { ours: [] as Float64Array[], theirs: [] as Float64Array[] }
  for (let replay = 0; replay < POOL_REPLAYS; replay++) {
    const own = replay === 0 ? other.calls : drawMinutes(other.calls, rng.stream(`replay ${replay}`))
    const given = { parts: { ...parts, ...other }, twin: asTwinCalls(own, own[0]?.arrivedUnixMs ?? 0), replay }
    runs.ours.push(play(other.challenger, given).figures)
    runs.theirs.push(play(other.serving, given).figures)
  }
  return { slice: `pool ${pool}`, calls: other.calls.length, gain: pairedGain(runs, rng.stream('bootstrap')) }
}

function play(
  { arm, model, believes }: Contender,
  given: { readonly parts: EvaluationParts; readonly twin: readonly TwinCall[]; readonly replay: number },
): Play {
  const { parts, twin, replay } = given
  const figure = parts.figure ?? MEAN_E2E
  const figures = new Float64Array(twin.length).fill(Number.NaN)
  const scenario = { name: 'held-out', label: 'held-out calls', fleet: parts.fleet, callsPerS: Number.NaN, calls: () => twin }
  const score = playArm(parseArm(arm), {
    scenario,
    calls: twin,
    seed: replay,
    scrapeMs: parts.scrapeMs,
    networkMs: parts.networkMs ?? 0,
    ...(model ? { model } : {}),
    ...(believes ? { believes } : {}),
    limits: figure.limits,
    onEnd: ({ ending, index, arrivedMs, firstTokenMs, endedMs, outputTokens }) => {
      if (ending === 'completed') figures[index] = figure.of({ ttftMs: firstTokenMs - arrivedMs, e2eMs: endedMs - arrivedMs, outputTokens })
    },
  })
  return { score, figures }
}

/** As many whole minutes as there are, drawn with replacement, one after another. */
function drawMinutes(calls: readonly ServedCall[], rng: Rng): ServedCall[] {
  const startUnixMs = calls[0]?.arrivedUnixMs ?? 0
  const minutes = Map.groupBy(calls, (call) => Math.floor((call.arrivedUnixMs - startUnixMs) / DRAWN_MS))
  const last = Math.max(...minutes.keys(), 0)
  const count = Math.max(1, last)
  return Array.from({ length: count }, (_, place) => {
    // The last minute is cut off somewhere: it is drawn only where there is no other.
    const minute = last === 0 ? 0 : rng.int(count)
    return (minutes.get(minute) ?? []).map((call) => ({ ...call, arrivedUnixMs: call.arrivedUnixMs + (place - minute) * DRAWN_MS }))
  }).flat()
}

interface Concluding {
  readonly parts: EvaluationParts
  readonly plays: ReadonlyMap<string, readonly Play[]>
  readonly drawn: readonly (readonly ServedCall[])[]
  readonly rng: Rng
  readonly others: readonly SliceGain[]
}

function conclude({ parts, plays, drawn, rng, others }: Concluding): Evaluation {
  const { serving, calls, fleet, figure = MEAN_E2E } = parts
  const of = (name: string): readonly Play[] => plays.get(name) ?? []
  const ours = of(CHALLENGER).map((one) => one.figures)
  const gainOver = (name: string, only?: (call: number, replay: number) => boolean): Gain =>
    pairedGain({ ours, theirs: of(name).map((one) => one.figures) }, rng.stream(`bootstrap ${name}`), only)
  const arms = [...plays].map(([name, own]) => armScore(name === 'serving' ? nameOf(serving) : name, own))
  const scoreOf = (name: string): ArmScore => armScore(name, of(name))
  const bestRule = BASELINE_ARMS.reduce((best, arm) => (isBetter(scoreOf(arm), scoreOf(best), figure) ? arm : best))
  const [now, next, least] = [scoreOf('serving'), scoreOf(CHALLENGER), scoreOf('least-request')]
  const evidence: Evidence = {
    serving: nameOf(serving),
    gainWords: figure.words,
    heldOutCalls: calls.length,
    instances: fleet.length,
    gain: gainOver('serving'),
    gainVsLeastRequest: gainOver('least-request'),
    ttftP99Ratio: next.p99TtftMs / now.p99TtftMs,
    ttftP99VsLeastRequest: next.p99TtftMs / least.p99TtftMs,
    slices: [
      ...others,
      ...slicesOf(calls).map(({ slice, holds, count }) => ({
        slice,
        calls: count,
        gain: gainOver('serving', (call, replay) => holds((drawn[replay] as readonly ServedCall[])[call] as ServedCall)),
      })),
    ],
    largestShare: next.largestShare,
    servingShare: now.largestShare,
    lostMore: next.lost - now.lost,
    twinError: twinErrorOn(fleet, calls),
  }
  const foretold =
    parts.canary &&
    foretellBlocks(
      of('serving').map(({ figures }, replay) => ({ calls: drawn[replay] ?? [], figures })),
      { gain: evidence.gain, plan: parts.canary, seed: parts.seed },
    )
  return {
    ...evidence,
    ...decide(evidence),
    bestRule,
    gainVsBestRule: gainOver(bestRule),
    replays: REPLAYS,
    arms,
    ...(foretold ? { canary: foretold } : {}),
  }
}

const nameOf = ({ arm, name = arm }: Contender): string => name

const isBetter = (one: ArmScore, other: ArmScore, { kind }: Figure): boolean =>
  kind === 'slo' ? one.withinLimits > other.withinLimits : one.meanE2eMs < other.meanE2eMs

function armScore(arm: string, plays: readonly Play[]): ArmScore {
  const mean = (pick: (score: Score) => number): number => plays.reduce((sum, { score }) => sum + pick(score), 0) / plays.length
  return {
    arm,
    meanE2eMs: mean((score) => score.meanE2eMs),
    p99E2eMs: mean((score) => score.p99E2eMs),
    meanTtftMs: mean((score) => score.meanTtftMs),
    p99TtftMs: mean((score) => score.p99TtftMs),
    largestShare: Math.max(...plays.map(({ score }) => Math.max(...score.shares))),
    lost: mean((score) => score.lost),
    withinLimits: mean((score) => score.withinLimits),
  }
}

interface Slice extends Pick<SliceGain, 'slice'> {
  readonly count: number
  readonly holds: (call: ServedCall) => boolean
}

/** Slices that are judged at most: the largest ones. */
const SLICES_MAX = 24

function slicesOf(calls: readonly ServedCall[]): Slice[] {
  const keys: readonly (readonly [string, (call: ServedCall) => string])[] = [
    ['application', (call) => call.application],
    ['tenant', (call) => call.tenant],
    ['output', (call) => BUCKET_NAMES[bucketOf(call.outputTokens ?? 0)] ?? ''],
  ]
  return keys
    .flatMap(([name, keyOf]) =>
      [...Map.groupBy(calls, keyOf)].map(
        ([value, own]): Slice => ({
          slice: `${name} ${value}`,
          count: own.length,
          holds: (call) => keyOf(call) === value,
        }),
      ),
    )
    .sort((a, b) => b.count - a.count || (a.slice < b.slice ? -1 : 1))
    .slice(0, SLICES_MAX)
}

/** How far the twin is off on what was really served, the placements as they were made. */
function twinErrorOn(fleet: readonly MachineSpec[], calls: readonly ServedCall[]): number {
  const known = calls.filter((call) => call.instance !== null && fleet.some(({ name }) => name === call.instance))
  const answered = known.filter((call) => call.outcome === 'completed')
  if (answered.length === 0) return Number.NaN
  const logged = answered.reduce((sum, call) => sum + call.e2eMs, 0) / answered.length
  const played = replayUnder(AS_LOGGED, { calls: known, fleet, countedFromUnixMs: 0 }).meanE2eMs
  return played / logged - 1
}
