import type { InstanceView } from '../fleet/instance.ts'
import { type EngineShape, SHAPE_BLOCK_TOKENS } from '../impact/engine-shape.ts'
import { type MixingParameters, mixingOf } from '../impact/mixing.ts'
import { emptyWork, stepMs } from '../impact/step.ts'
import type { PaperSettings } from './paper-constants.ts'

/** Numbers of the state that belong to the router, and to each instance. */
export const ROUTER_WIDTH = 3
export const INSTANCE_WIDTH = 6

/** Width of the state for m instances: 3 + 6m, 27 for four. */
export function stateWidth(instances: number): number {
  return ROUTER_WIDTH + INSTANCE_WIDTH * instances
}

/** The paper's bucket of a predicted output: 0, 1 or 2. Nothing finer reaches the agent. */
export function bucketOf(predictedTokens: number, settings: PaperSettings): 0 | 1 | 2 {
  if (!(predictedTokens >= settings.bucketLowTokens)) return 0
  return predictedTokens < settings.bucketHighTokens ? 1 : 2
}

/** d̂: the output that a bucket stands for, tokens. */
export function bucketTokens(bucket: 0 | 1 | 2, settings: PaperSettings): number {
  return bucket === 0 ? settings.bucketTokens0 : bucket === 1 ? settings.bucketTokens1 : settings.bucketTokens2
}

/** What the agent reads off one instance: its router's own ledger and its profile, never the engine. */
export interface InstanceReading {
  /** Calls in their prompt phase with a light and with a heavy prompt; calls that decode, with a short and with a long predicted output. */
  lightPrompts: number
  heavyPrompts: number
  shortDecodes: number
  longDecodes: number
  /** n and Σ_j (p_j + d̂_j). */
  runningCalls: number
  runningTokens: number
  /** [R] C: KV tokens that the calls sent there have not taken yet, as a share of all; negative where they do not fit together. */
  capacityRatio: number
  /** Until the first of its calls ends, as predicted, s; 0 while none runs. */
  earliestS: number
  /** Σ_j (1 − progress_j) with progress = tokens made ÷ tokens predicted: the reward's weight of its calls. */
  unfinished: number
}

/** What an idle instance is read as; to be filled by `readInstance`. */
export function emptyReading(): InstanceReading {
  return {
    lightPrompts: 0,
    heavyPrompts: 0,
    shortDecodes: 0,
    longDecodes: 0,
    runningCalls: 0,
    runningTokens: 0,
    capacityRatio: 1,
    earliestS: 0,
    unfinished: 0,
  }
}

/** The slopes of an instance type as the paper's estimator takes them; grad2 is a multiple of the profile's own, as the paper's is. */
export function paperMixing(shape: EngineShape, settings: PaperSettings): MixingParameters {
  const measured = mixingOf(shape)
  return {
    ...measured,
    heavyPromptSeconds: settings.heavyPromptS,
    contextSecondsPerToken: settings.contextFactor * measured.contextSecondsPerToken,
  }
}

/** Reads one instance into `out`. */
export function readInstance(
  instance: Pick<InstanceView, 'ledger'>,
  given: { readonly shape: EngineShape; readonly mixing: MixingParameters; readonly settings: PaperSettings },
  out: InstanceReading,
): void {
  const { shape, mixing, settings } = given
  const heavyTokens = settings.heavyPromptS / mixing.promptSecondsPerToken
  clear(out)
  let contextTokens = 0
  let least = Number.POSITIVE_INFINITY
  for (const { promptTokens, predictedOutputTokens, outputTokens, firstTokenMs } of instance.ledger.open()) {
    const bucket = bucketOf(predictedOutputTokens, settings)
    const expected = bucketTokens(bucket, settings)
    if (firstTokenMs > 0) {
      if (bucket === 0) out.shortDecodes++
      else out.longDecodes++
    } else if (promptTokens < heavyTokens) out.lightPrompts++
    else out.heavyPrompts++
    out.runningCalls++
    out.runningTokens += promptTokens + Math.max(expected, outputTokens)
    contextTokens += promptTokens + outputTokens
    least = Math.min(least, Math.max(1, expected - outputTokens))
    out.unfinished += 1 - outputTokens / Math.max(predictedOutputTokens, outputTokens + 1)
  }
  if (out.runningCalls === 0) return
  out.capacityRatio = 1 - contextTokens / (shape.kvBlocks * SHAPE_BLOCK_TOKENS)
  out.earliestS = (least * decodeStepMs(shape, out.runningCalls, contextTokens)) / 1000
}

function clear(reading: InstanceReading): void {
  reading.lightPrompts = 0
  reading.heavyPrompts = 0
  reading.shortDecodes = 0
  reading.longDecodes = 0
  reading.runningCalls = 0
  reading.runningTokens = 0
  reading.capacityRatio = 1
  reading.earliestS = 0
  reading.unfinished = 0
}

function decodeStepMs({ law }: EngineShape, calls: number, contextTokens: number): number {
  return stepMs(law, { ...NO_WORK, tokens: calls, decoding: calls, contextTokens })
}

const NO_WORK = emptyWork()

/** x ÷ (1 + x): a backlog of hundreds of calls in overload must not drown what else the net sees. */
function bounded(x: number): number {
  return x / (1 + x)
}

/**
 * Writes the state, `stateWidth(readings.length)` numbers:
 *   queue length (capped), the head call's prompt and predicted bucket; then for each instance
 *   [R] calls in the prompt phase, light and heavy, calls in the decode phase, short and long, capacity, s until its first call ends.
 * [R] the paper says "histograms of running calls by prompt and decode bucket"; six numbers per instance leave four for them.
 */
export function writeState(
  given: {
    readonly queued: number
    readonly promptTokens: number
    readonly bucket: 0 | 1 | 2
    readonly promptSecondsPerToken: number
    readonly readings: readonly InstanceReading[]
    readonly settings: PaperSettings
  },
  out: Float32Array,
): void {
  const { queued, promptTokens, bucket, readings, settings } = given
  out[0] = Math.min(queued, settings.queueCap) / settings.queueCap
  out[1] = bounded((promptTokens * given.promptSecondsPerToken) / settings.promptUnitS)
  out[2] = bucket / 2
  for (const [i, reading] of readings.entries()) {
    const at = ROUTER_WIDTH + INSTANCE_WIDTH * i
    out[at] = bounded(reading.lightPrompts / settings.callsUnit)
    out[at + 1] = bounded(reading.heavyPrompts / settings.callsUnit)
    out[at + 2] = bounded(reading.shortDecodes / settings.callsUnit)
    out[at + 3] = bounded(reading.longDecodes / settings.callsUnit)
    out[at + 4] = Math.min(1, Math.max(-1, (reading.capacityRatio - settings.reserveRatio) / settings.capacityUnit))
    out[at + 5] = bounded(reading.earliestS / settings.earliestUnitS)
  }
}
