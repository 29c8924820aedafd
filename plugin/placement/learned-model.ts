import { seedOf } from '../rng.ts'
import { FEATURE_HASH } from './features.ts'

/** What the place head reads of one candidate, derived from its logged row and its engine's shape (`learned-features.ts`); no unit: shares, logs and times over T. */
export const PLACE_FEATURES = [
  'crowd',
  'crowdOverMean',
  'waits',
  'queue',
  'kv',
  'kvPeak',
  'kvHigh',
  'kvOver',
  'pending',
  'ownPrefill',
  'stall',
  'ownDecode',
  'drag',
  'dragLeft',
  'leftEach',
  'blocked',
  'own',
  'everybody',
  'prefix',
  'fleetKvByKv',
  'fleetKvByCrowd',
  'fleetKvByStall',
  'stallShared',
  'fleetKvByOwn',
  'foreign',
  'age',
  'slowStart',
  'longByCrowd',
  'longByKv',
  'promptByWaits',
  'promptByPending',
  'everybodyOverLeast',
  'fleetKv',
  'long',
  'prompt',
  'fleetCrowd',
  'prefillAlone',
  'time',
  'leftOverMean',
  'longByLeft',
  'promptByLeft',
  'promptByPrompts',
  'crowdByLeft',
  'aloneByLeft',
  'aloneByPending',
  'stallByLeft',
  'fleetStall',
] as const

/** What the hold head reads of one call at one instance. */
export const HOLD_FEATURES = [
  'one',
  'kvAfter',
  'queue',
  'pendingS',
  'kvPeak',
  'heldCalls',
  'heldS',
  'fleetKv',
  'running',
  'stallShared',
  'stallS',
  'seats',
  'long',
  'prompt',
] as const

/** What the order head reads of one held call: its size in four ways, then how long it has waited, absolutely and against the wait in turn. */
export const ORDER_FEATURES = ['output', 'context', 'work', 'share', 'waitLong', 'waitShort', 'waitOverQueue', 'overdue'] as const

export const PLACE_WIDTH = PLACE_FEATURES.length
export const HOLD_WIDTH = HOLD_FEATURES.length
export const ORDER_WIDTH = ORDER_FEATURES.length
/** Of the order's features these first ones never change while a call waits. */
export const ORDER_FIXED = 4
/** Hidden units of the place head. Twelve were enough in every earlier search; ten keep 512 candidates well under a millisecond. */
export const HIDDEN = 10
/** The hold head is the least of so many linear units: each a condition, all of which must hold for a call to start. */
export const CONDITIONS = 3

/** Names everything that a learned policy reads, in order: the logged columns and what is derived from them. A model with another hash is refused. */
export const LEARNED_FEATURE_HASH = seedOf(
  [FEATURE_HASH, ...PLACE_FEATURES, '|', ...HOLD_FEATURES, '|', ...ORDER_FEATURES, '|', HIDDEN, CONDITIONS].join(' '),
)
  .toString(16)
  .padStart(8, '0')

/** One tensor of the model within the flat vector. */
export interface Block {
  readonly name: string
  readonly shape: readonly [number, number]
  readonly offset: number
}

/** The model's tensors in the order of the flat vector; matrices row by row. */
export const BLOCKS: readonly Block[] = layOut([
  ['place.hidden', PLACE_WIDTH, HIDDEN],
  ['place.bias', 1, HIDDEN],
  ['place.output', HIDDEN, 1],
  ['place.linear', PLACE_WIDTH, 1],
  ['hold.conditions', HOLD_WIDTH, CONDITIONS],
  ['order.linear', ORDER_WIDTH, 1],
])
export const PARAMETER_COUNT = BLOCKS.reduce((sum, { shape }) => sum + shape[0] * shape[1], 0)

function layOut(blocks: readonly (readonly [name: string, rows: number, columns: number])[]): Block[] {
  let offset = 0
  return blocks.map(([name, rows, columns]) => {
    const block = { name, shape: [rows, columns] as const, offset }
    offset += rows * columns
    return block
  })
}

/** A learned policy: where a call goes, whether it waits, and who of those that wait goes first. */
export interface LearnedModel {
  readonly version: string
  readonly featureHash: string
  /** PARAMETER_COUNT floats, laid out as BLOCKS. */
  readonly parameters: Float32Array
}

/** Why a model cannot serve. */
export class ModelRefused extends Error {
  override readonly name = 'ModelRefused'
}

/** Returns the model. Throws ModelRefused where it was made for other features, has another size, or holds what is no number. */
export function checkModel(model: LearnedModel): LearnedModel {
  const { version, featureHash, parameters } = model
  if (featureHash !== LEARNED_FEATURE_HASH)
    throw new ModelRefused(`policy model ${version} was made for features ${featureHash}; this version has ${LEARNED_FEATURE_HASH}`)
  if (parameters.length !== PARAMETER_COUNT)
    throw new ModelRefused(`policy model ${version} has ${parameters.length} parameters; ${PARAMETER_COUNT} are needed`)
  const at = parameters.findIndex((value) => !Number.isFinite(value))
  if (at >= 0) throw new ModelRefused(`policy model ${version}: parameter ${at} is ${parameters[at]}`)
  return model
}

/** The parameters of one block, not copied. Throws on an unknown name. */
export function blockOf<T extends Float32Array | Float64Array>(parameters: T, name: string): T {
  const block = BLOCKS.find((one) => one.name === name)
  if (!block) throw new Error(`the model has no block ${name}`)
  return parameters.subarray(block.offset, block.offset + block.shape[0] * block.shape[1]) as T
}

/** Calls that may wait at an instance before it takes no held one, in the start model. */
const WAITING_START = 4

/** Weight of a named feature in a start model. */
type Start = Readonly<Record<string, number>>

/**
 * The costs of the start model: least added to everybody, kept off crowds, full memory and pending prefill; and drawn to those with long to go, the more so the
 * more a prefill stalls, so that the other instances drain and are fast. Found by hand: on `v100x4@20` the last alone took 7 % to 16 % of mean E2E, and
 * the price on pending prefill took TTFT p99 back from 1.7 to 1.1 times least-request's.
 */
const PLACE_START: Start = {
  everybody: 1,
  crowdOverMean: 0.3,
  kvHigh: 0.3,
  kvOver: 1,
  waits: -0.2,
  pending: 3,
  leftOverMean: -0.15,
  stallByLeft: -1.8,
  promptByLeft: 0.25,
  promptByWaits: 0.3,
}
/** Memory with a reserve of a tenth, a few waiting, and one condition that always holds: the rule of `hold-rules.ts`, whose eight waiting let TTFT go in bursts. */
const HOLD_START: readonly Start[] = [{ one: 0.9, kvAfter: -1 }, { one: Math.log(1 + WAITING_START), queue: -1 }, { one: 1 }]
/**
 * The aged key of `hold-rules.ts`, ln of KV-time less twice the ln of 1 + 0.2 · seconds waited, with size taken as the share of an instance in time (memory or
 * prefill, whichever binds) and the wait against the wait in turn: on `azure-code-over` 44 % at 1.03 of round robin's E2E p99 instead of 28 % at 1.21.
 */
const ORDER_START: Start = { output: 0.2, context: 0.3, share: 1.6, waitShort: -0.3, waitOverQueue: -0.5, overdue: -2 }

/** The heuristic in the model's own form: what every training starts from. Hidden units are silent, their inputs drawn by `normal`. */
export function startParameters(normal: () => number): Float32Array {
  const parameters = new Float32Array(PARAMETER_COUNT)
  const hidden = blockOf(parameters, 'place.hidden')
  for (let i = 0; i < hidden.length; i++) hidden[i] = normal() / Math.sqrt(PLACE_WIDTH)
  write(blockOf(parameters, 'place.linear'), PLACE_FEATURES, PLACE_START)
  write(blockOf(parameters, 'order.linear'), ORDER_FEATURES, ORDER_START)
  const conditions = blockOf(parameters, 'hold.conditions')
  for (const [k, start] of HOLD_START.entries()) write(conditions, HOLD_FEATURES, start, { step: CONDITIONS, from: k })
  return parameters
}

function write(block: Float32Array, names: readonly string[], start: Start, { step, from } = { step: 1, from: 0 }): void {
  for (const [name, weight] of Object.entries(start)) {
    const at = names.indexOf(name)
    if (at < 0) throw new Error(`no feature ${name}`)
    block[at * step + from] = weight
  }
}
