import { believedKvTokens, believedWaiting, kvCapacityTokens } from '../placement/belief.ts'
import { costsOf, decodeMs, type EngineCosts, prefillMs } from '../placement/engine-costs.ts'
import { orZero, outputOf, sizeOf } from '../placement/learned-features.ts'
import { blockOf, CONDITIONS, checkModel, HOLD_WIDTH, type LearnedModel, ORDER_FIXED, ORDER_WIDTH } from '../placement/learned-model.ts'
import type { HeldCall, HoldInstance, HoldRule, HoldView } from './rule.ts'

/** Seconds that count no further in any feature: beyond, more delay changes no decision. */
const SECONDS_MOST = 5
/** Memory in use beyond three times the capacity tells no more. */
const KV_MOST = 3
/** The wait against the queue's own is taken over at least so much: below, a queue is no queue. */
const IN_TURN_LEAST_MS = 5_000
/** An instance where nobody waits and memory is less full than this takes any call, whatever a model says: a model gone wrong must not stall a calm fleet. */
const CALM_KV_RATIO = 0.5
/** Calls beside which a typical step is taken for the order: its level moves no rank on equal instances. */
const TYPICAL_CALLS = 32

/**
 * When and in which order, by a learned model. Holding is one more candidate: it costs 0, an instance costs less than that where all of the hold head's conditions
 * allow the call to start there,
 *   open(call, instance) = min over k of (w_k · h) ≥ 0
 * and the order head's smallest key goes first,
 *   key = o_fixed · size − o_wait · wait
 * A calm instance is open to all: else a prompt above the limit would wait for ever at an idle fleet. Throws ModelRefused on a model for other features.
 */
export function createLearnedRule(parts: {
  readonly model: LearnedModel
  readonly shapeOf: (instance: HoldInstance) => EngineCosts['shape']
}): HoldRule {
  const { parameters } = checkModel(parts.model)
  const gate = new Gate({ conditions: Float64Array.from(blockOf(parameters, 'hold.conditions')), shapeOf: parts.shapeOf })
  const order = Float64Array.from(blockOf(parameters, 'order.linear'))
  const features = new Float64Array(ORDER_WIDTH)
  return {
    name: 'learned',
    isReady: () => true,
    roomTokens: () => Number.POSITIVE_INFINITY,
    readyOnly: false,
    demandTokens: () => 0,
    look: (seen) => gate.look(seen),
    // Not a number opens: a broken model must not keep calls waiting.
    opens: (held, index) => !(gate.margin(held, index) < 0),
    fixedKey(held) {
      writeSize(features, held, gate.typical)
      let key = 0
      for (let f = 0; f < ORDER_FIXED; f++) key += (order[f] as number) * (features[f] as number)
      return key
    },
    key(held, nowMs, fixed) {
      const waitS = Math.max(0, nowMs - held.arrivedMs) / 1_000
      return (
        fixed +
        (order[ORDER_FIXED] as number) * Math.log(1 + 0.03 * waitS) +
        (order[ORDER_FIXED + 1] as number) * Math.log(1 + 0.2 * waitS) +
        (order[ORDER_FIXED + 2] as number) * Math.log(1 + waitS / gate.inTurnS) +
        (order[ORDER_FIXED + 3] as number) * Math.max(0, waitS / gate.inTurnS - 1)
      )
    },
  }
}

/** A call's size: ln of its output, of its mean context, of what it computes, and of what it takes of an instance in time, memory included. */
function writeSize(features: Float64Array, held: HeldCall, costs: EngineCosts | undefined): void {
  const output = outputOf(held.predictedOutputTokens)
  const prompt = Math.max(1, orZero(held.promptTokens))
  features[0] = Math.log(output)
  features[1] = Math.log(prompt + output / 2)
  if (!costs) {
    features[2] = 0
    features[3] = 0
    return
  }
  const workMs = prefillMs(costs, prompt, 0) + output * (costs.perCallMs + costs.perContextTokenMs * (prompt + output / 2))
  const stepMs = decodeMs(costs.shape, TYPICAL_CALLS, costs.kvTokens / 2)
  features[2] = Math.log(Math.max(1e-3, workMs))
  features[3] = Math.log(Math.max(1e-3, workMs + ((output * (prompt + output / 2)) / costs.kvTokens) * stepMs))
}

interface GateParts {
  /** HOLD_WIDTH × CONDITIONS. */
  readonly conditions: Float64Array
  readonly shapeOf: (instance: HoldInstance) => EngineCosts['shape']
}

/** The hold head, with a row of HOLD_FEATURES per instance: what does not depend on the call is written once per look. */
export class Gate {
  readonly #parts: GateParts
  /** `count` rows of HOLD_WIDTH. */
  rows = new Float64Array(16 * HOLD_WIDTH)
  #kvTokens = new Float64Array(16)
  #capacity = new Float64Array(16)
  #running = new Float64Array(16)
  #calm = new Uint8Array(16)
  #costs: EngineCosts[] = []
  #nowMs = 0
  /** The wait that serving in turn would mean, s. */
  inTurnS = IN_TURN_LEAST_MS / 1_000
  /** The first instance's engine, by whose costs calls are ranked; unknown before the first look. */
  typical: EngineCosts | undefined

  constructor(parts: GateParts) {
    this.#parts = parts
  }

  look({ instances, count, held, inTurnMs, nowMs }: HoldView): void {
    this.#nowMs = nowMs
    this.inTurnS = Math.max(IN_TURN_LEAST_MS, inTurnMs) / 1_000
    if (this.#calm.length < count) this.#grow(2 * count)
    let fleetKv = 0
    for (let i = 0; i < count; i++) {
      const instance = instances[i] as HoldInstance
      const costs = costsOf(this.#parts.shapeOf(instance))
      const told = kvCapacityTokens(instance)
      this.#costs[i] = costs
      this.#capacity[i] = told > 0 ? told : costs.kvTokens
      this.#kvTokens[i] = believedKvTokens(instance)
      fleetKv += (this.#kvTokens[i] as number) / (this.#capacity[i] as number)
    }
    fleetKv /= count
    this.typical = this.#costs[0]
    const heldCalls = Math.log(1 + held / count)
    for (let i = 0; i < count; i++) this.#writeInstance(i, instances[i] as HoldInstance, { fleetKv, heldCalls })
  }

  /** How far the call is from being held at this instance: the least of the conditions. */
  margin(held: HeldCall, i: number): number {
    if (this.#calm[i] === 1) return Number.POSITIVE_INFINITY
    this.#writeCall(i, held)
    const { conditions } = this.#parts
    const from = i * HOLD_WIDTH
    let least = Number.POSITIVE_INFINITY
    for (let k = 0; k < CONDITIONS; k++) {
      let margin = 0
      for (let f = 0; f < HOLD_WIDTH; f++) margin += (conditions[f * CONDITIONS + k] as number) * (this.rows[from + f] as number)
      if (!(margin >= least)) least = margin
    }
    return least
  }

  /** With `#writeCall` in the order of HOLD_FEATURES; a test holds them together. */
  #writeInstance(i: number, instance: HoldInstance, fleet: { readonly fleetKv: number; readonly heldCalls: number }): void {
    const { ledger, scrape } = instance
    const costs = this.#costs[i] as EngineCosts
    const waiting = orZero(believedWaiting(instance))
    const crowd = ledger.inFlight + orZero(scrape.foreignInFlight)
    const running = Math.max(0, crowd - waiting)
    this.#running[i] = running
    const half = CALM_KV_RATIO * (this.#capacity[i] as number)
    this.#calm[i] = crowd === 0 || (waiting === 0 && (this.#kvTokens[i] as number) < half) ? 1 : 0
    const at = i * HOLD_WIDTH
    const { rows } = this
    rows[at] = 1
    rows[at + 2] = Math.log(1 + waiting)
    rows[at + 3] = Math.min(SECONDS_MOST, prefillMs(costs, ledger.prefillTokensPending, 0) / 1_000)
    rows[at + 4] = Math.min(KV_MOST, ((this.#kvTokens[i] as number) + orZero(ledger.outputTokensLeft)) / (this.#capacity[i] as number))
    rows[at + 5] = fleet.heldCalls
    rows[at + 7] = fleet.fleetKv
    rows[at + 8] = Math.log(1 + running) / 4
    rows[at + 9] = waiting > 0 && costs.prefillAlone ? 1 : 0
    rows[at + 11] = crowd / costs.shape.seats
  }

  #writeCall(i: number, held: HeldCall): void {
    const prompt = Math.max(1, orZero(held.promptTokens))
    const at = i * HOLD_WIDTH
    const { rows } = this
    rows[at + 1] = Math.min(KV_MOST, ((this.#kvTokens[i] as number) + prompt) / (this.#capacity[i] as number))
    rows[at + 6] = Math.log(1 + Math.max(0, this.#nowMs - held.arrivedMs) / 1_000)
    const stallMs = prefillMs(this.#costs[i] as EngineCosts, prompt, 0) * (this.#running[i] as number)
    rows[at + 10] = Math.min(SECONDS_MOST, stallMs / 1_000)
    rows[at + 12] = sizeOf(outputOf(held.predictedOutputTokens))
    rows[at + 13] = sizeOf(prompt)
  }

  #grow(size: number): void {
    this.rows = new Float64Array(size * HOLD_WIDTH)
    this.#kvTokens = new Float64Array(size)
    this.#capacity = new Float64Array(size)
    this.#running = new Float64Array(size)
    this.#calm = new Uint8Array(size)
  }
}
