import type { InstanceView } from '../fleet/instance.ts'
import type { EngineShape } from '../impact/engine-shape.ts'
import { costsOf, decodeMs, prefillMs } from './engine-costs.ts'
import { AT, CALL_AT, CANDIDATE_COLUMNS } from './features.ts'
import { PLACE_WIDTH } from './learned-model.ts'
import type { Candidates } from './policy.ts'

const COLUMNS = CANDIDATE_COLUMNS.length
/** Output taken for granted where nobody predicted it: about the mean of public chat traces. */
export const UNPREDICTED_OUTPUT_TOKENS = 256
/** Centre of the logarithms of prompt and output tokens, e^5 = 148: keeps features near 0. */
const LN_CENTRE = 5
/** Times over T beyond this tell no more: the candidate is hopeless either way. */
const TIMES_MOST = 20

/** Below about so many calls an instance has none that a cohort could be made of. */
const FEW_CALLS = 8

/** Times of one candidate and what they are made of, kept from the first pass for the second. */
const KEPT = 12

/**
 * Turns logged rows and engine shapes into the place head's inputs: what the call would cost itself and the others there, in ms by the step law,
 * over T, the pool's mean of the call's own E2E; and how the candidate stands to its pool. Two passes, because the pool's means come first.
 */
export class PlaceFeatures {
  readonly #shapeOf: (instance: InstanceView) => EngineShape
  /** `count` rows of PLACE_WIDTH. */
  rows = new Float64Array(16 * PLACE_WIDTH)
  #kept = new Float64Array(16 * KEPT)

  constructor(parts: { readonly shapeOf: (instance: InstanceView) => EngineShape }) {
    this.#shapeOf = parts.shapeOf
  }

  /** Fills `rows` for these candidates. */
  fill(candidates: Candidates): void {
    const { count, callRow } = candidates
    if (this.rows.length < count * PLACE_WIDTH) {
      this.rows = new Float64Array(2 * count * PLACE_WIDTH)
      this.#kept = new Float64Array(2 * count * KEPT)
    }
    const call = callOf(callRow)
    const pool = { crowd: 0, foreign: 0, kv: 0, left: 0, prompts: 0, stallMs: 0, decodeMs: 0, ownMs: 0, leastMs: Number.POSITIVE_INFINITY }
    for (let i = 0; i < count; i++) this.#measure(candidates, i, call, pool)
    pool.crowd /= count
    pool.foreign /= count
    pool.kv /= count
    pool.left /= count
    pool.prompts /= count
    pool.ownMs = Math.max(1, pool.ownMs / count)
    for (let i = 0; i < count; i++) this.#write(candidates, i, call, pool)
  }

  #measure({ rows, instances }: Candidates, i: number, call: CallSize, pool: PoolSums): void {
    const at = i * COLUMNS
    const costs = costsOf(this.#shapeOf(instances[i] as InstanceView))
    const inFlight = rows[at + AT.inFlight] as number
    const foreign = orZero(rows[at + AT.foreignInFlight])
    const waiting = orZero(rows[at + AT.waitingBelieved])
    const running = Math.max(0, inFlight + foreign - waiting)
    const kvTokens = orZero(rows[at + AT.kvTokensBelieved])
    const told = rows[at + AT.kvTokensCapacity] as number
    const capacity = told > 0 ? told : costs.kvTokens
    const left = orZero(rows[at + AT.outputTokensLeft])
    const match = orZero(rows[at + AT.prefixMatch])
    const uncached = Math.max(1, call.promptTokens * (1 - match))
    const ownPrefillMs = prefillMs(costs, uncached, call.promptTokens - uncached)
    const pendingMs = prefillMs(costs, rows[at + AT.prefillTokensPending] as number, 0)
    const stepMs = decodeMs(costs.shape, running + 1, kvTokens + call.promptTokens)
    const decodeAllMs = call.outputTokens * stepMs
    const leftEach = left / (1 + running)
    const promptEach = (rows[at + AT.promptTokensInFlight] as number) / Math.max(1, inFlight)
    const blockedMs = (Math.max(0, kvTokens + call.promptTokens - 0.99 * capacity) / Math.max(1, kvTokens)) * 2 * leftEach * stepMs
    const addedMs = costs.perCallMs + costs.perContextTokenMs * (call.promptTokens + call.outputTokens / 2)
    const ownMs = pendingMs + ownPrefillMs + decodeAllMs + blockedMs
    const stallMs = ownPrefillMs * running
    const dragLeftMs = Math.min(call.outputTokens, leftEach) * addedMs * running
    const kept = this.#kept
    const k = i * KEPT
    kept[k] = running
    kept[k + 1] = kvTokens / capacity
    kept[k + 2] = (kvTokens + left + call.promptTokens + call.outputTokens) / capacity
    kept[k + 3] = (kvTokens + call.promptTokens) / capacity
    kept[k + 4] = pendingMs
    kept[k + 5] = ownPrefillMs
    kept[k + 6] = decodeAllMs
    kept[k + 7] = blockedMs
    kept[k + 8] = dragLeftMs
    kept[k + 9] = call.outputTokens * addedMs * running
    kept[k + 10] = Math.log(1 + leftEach)
    kept[k + 11] = Math.log(1 + promptEach)
    pool.stallMs += prefillMs(costs, promptEach, 0) * running
    pool.decodeMs += leftEach * stepMs
    pool.left += kept[k + 10] as number
    pool.prompts += kept[k + 11] as number
    pool.crowd += inFlight + foreign
    pool.foreign += foreign
    pool.kv += kvTokens / capacity
    pool.ownMs += ownMs
    pool.leastMs = Math.min(pool.leastMs, ownMs + stallMs + dragLeftMs)
  }

  /** The order below is that of PLACE_FEATURES; a test holds the two together. */
  #write({ rows, instances }: Candidates, i: number, call: CallSize, pool: PoolSums): void {
    const kept = this.#kept
    const k = i * KEPT
    const at = i * COLUMNS
    const x = this.rows
    const to = i * PLACE_WIDTH
    const per = 1 / pool.ownMs
    const running = kept[k] as number
    const kv = kept[k + 1] as number
    const kvAfter = kept[k + 3] as number
    const prefillAlone = costsOf(this.#shapeOf(instances[i] as InstanceView)).prefillAlone ? 1 : 0
    const waiting = orZero(rows[at + AT.waitingBelieved])
    const crowd = (rows[at + AT.inFlight] as number) + orZero(rows[at + AT.foreignInFlight])
    const crowdOverMean = (crowd - pool.crowd) / (1 + pool.crowd)
    const waits = waiting > 0 ? 1 : 0
    const pending = upTo((kept[k + 4] as number) * per)
    const ownPrefill = upTo((kept[k + 5] as number) * per)
    const stall = upTo((kept[k + 5] as number) * running * per)
    const own = upTo(((kept[k + 4] as number) + (kept[k + 5] as number) + (kept[k + 6] as number) + (kept[k + 7] as number)) * per)
    const dragLeft = upTo((kept[k + 8] as number) * per)
    const everybody = own + stall + dragLeft
    // A cohort is made by all who send calls: where others do, what is left of our own says little of the instance.
    const leftOver = ((kept[k + 10] as number) - pool.left) * Math.max(0, 1 - (2 * pool.foreign) / Math.max(1, pool.crowd))
    const fleetStall = Math.min(1, pool.stallMs / Math.max(1, pool.decodeMs)) * (pool.crowd / (pool.crowd + FEW_CALLS))
    const age = rows[at + AT.scrapeAge] as number
    x[to] = Math.log(1 + crowd) - 2
    x[to + 1] = crowdOverMean
    x[to + 2] = waits
    x[to + 3] = Math.log(1 + waiting)
    x[to + 4] = kv
    x[to + 5] = Math.min(3, kept[k + 2] as number)
    x[to + 6] = 5 * Math.max(0, Math.min(1.2, kvAfter) - 0.8)
    x[to + 7] = 10 * Math.max(0, Math.min(1.2, kvAfter) - 0.95)
    x[to + 8] = pending
    x[to + 9] = ownPrefill
    x[to + 10] = stall
    x[to + 11] = upTo((kept[k + 6] as number) * per)
    x[to + 12] = upTo((kept[k + 9] as number) * per)
    x[to + 13] = dragLeft
    x[to + 14] = (kept[k + 10] as number) - LN_CENTRE
    x[to + 15] = upTo((kept[k + 7] as number) * per)
    x[to + 16] = own
    x[to + 17] = everybody
    x[to + 18] = orZero(rows[at + AT.prefixMatch])
    x[to + 19] = pool.kv * kv
    x[to + 20] = pool.kv * crowdOverMean
    x[to + 21] = pool.kv * stall
    x[to + 22] = waits * prefillAlone * stall
    x[to + 23] = pool.kv * own
    x[to + 24] = orZero(rows[at + AT.foreignInFlight]) / (1 + crowd)
    x[to + 25] = Number.isNaN(age) ? 2 : Math.min(3, Math.log(1 + age / 1_000))
    x[to + 26] = 1 - (rows[at + AT.slowStart] as number)
    x[to + 27] = call.long * crowdOverMean
    x[to + 28] = call.long * kv
    x[to + 29] = call.prompt * waits
    x[to + 30] = call.prompt * pending
    x[to + 31] = upTo(everybody - pool.leastMs * per)
    x[to + 32] = pool.kv
    x[to + 33] = call.long
    x[to + 34] = call.prompt
    x[to + 35] = Math.log(1 + pool.crowd) - 2
    x[to + 36] = prefillAlone
    x[to + 37] = Math.log(pool.ownMs / 1_000)
    x[to + 38] = leftOver
    x[to + 39] = call.long * leftOver
    x[to + 40] = call.prompt * leftOver
    x[to + 41] = call.prompt * ((kept[k + 11] as number) - pool.prompts)
    x[to + 42] = (Math.log(1 + pool.crowd) - 3) * leftOver
    x[to + 43] = prefillAlone * leftOver
    x[to + 44] = prefillAlone * pending
    x[to + 45] = fleetStall * leftOver
    x[to + 46] = fleetStall
  }
}

interface CallSize {
  readonly promptTokens: number
  readonly outputTokens: number
  readonly long: number
  readonly prompt: number
}

interface PoolSums {
  crowd: number
  foreign: number
  kv: number
  /** Logarithms of output left and of prompt tokens per call, means over the pool. */
  left: number
  prompts: number
  /** What a prompt of the usual size stalls, and how long the usual running call has to go; sums over the pool. */
  stallMs: number
  decodeMs: number
  ownMs: number
  leastMs: number
}

function callOf(callRow: Float32Array): CallSize {
  const promptTokens = Math.max(1, orZero(callRow[CALL_AT.promptTokens]))
  const predicted = callRow[CALL_AT.predictedOutputTokens] as number
  const outputTokens = outputOf(predicted)
  return { promptTokens, outputTokens, long: sizeOf(outputTokens), prompt: sizeOf(promptTokens) }
}

/** The predicted output, or what is taken for granted; at least 1. */
export function outputOf(predictedOutputTokens: number): number {
  return predictedOutputTokens > 0 ? Math.max(1, predictedOutputTokens) : UNPREDICTED_OUTPUT_TOKENS
}

/** Logarithm of a number of tokens, centred and halved. */
export function sizeOf(tokens: number): number {
  return (Math.log(tokens) - LN_CENTRE) / 2
}

/** Unknown counts as none. */
export function orZero(value: number | undefined): number {
  return value !== undefined && value > 0 ? value : 0
}

function upTo(value: number): number {
  return Math.min(TIMES_MOST, value)
}
