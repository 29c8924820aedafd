import { solveSymmetric } from '../call/solve.ts'
import { median } from './median.ts'

/** One answered call, as an instance's speed is watched by it. */
export interface PacedCall {
  /** Time per token: after the first where they were seen coming, else of the whole; the same for all calls of one watch. NaN where it says nothing. */
  readonly tpotMs: number
  readonly promptTokens: number
  /** Calls in flight on the instance when it was placed, this one not included. */
  readonly inFlight: number
}

/** An instance is not what it was, or not what it was since the change before. */
export interface Change {
  /** Its time per token over what it was, at the same load; below 1: faster. */
  readonly factor: number
  /** Calls from the estimated beginning of the change to its notice. */
  readonly calls: number
}

/** Calls that teach what is usual, before anything can be noticed. */
const LEARNED_CALLS = 1_200
/** Calls averaged before they are looked at: neighbours share steps, so that single ones say the same thing many times. */
const BATCH = 10
/**
 * Cumulative sums (Page, 1954) of batch means in units of their own spread: one, or a quarter slower where that is more, is let go each time, and 60 in sum are a change. Neighbouring batches share
 * queues, so that both are far above what independent ones would need; a doubled time per token fills them in some ten batches. Chosen by runs of the twin.
 */
const LET_GO = 1
const ALARM = 60
/** A change below this is not worth a notice, ln: loads that were never seen before look like it. */
export const CHANGE_LEAST = Math.log(1.3)
const LET_GO_LN = Math.log(1.25)
const HELD_SPREADS = 6
/** Batches taken together to see how far neighbours stray the same way: their mean strays further than that of independent ones. */
const TOGETHER = 5
const WIDTH = 4

/**
 * Notices that an instance became slower or faster than it was (another GPU, quantised weights, a noisy neighbour): time per token against what its own
 * earlier calls had at the same number in flight. No clock. What comes after a change is compared with what came since it, so that its end is noticed as well.
 */
export class ChangeWatch {
  readonly #normal = new Float64Array(WIDTH * WIDTH)
  readonly #moment = new Float64Array(WIDTH)
  #beta: Float64Array | undefined
  #seen = 0
  readonly #rows: Float64Array[] = []
  readonly #figures: number[] = []
  #batch: number[] = []
  #mean = 0
  #spread = 1
  #up = 0
  #down = 0
  #upSums = { calls: 0, sum: 0 }
  #downSums = { calls: 0, sum: 0 }

  /** Takes in a call; gives the change where this one made it certain. */
  add(call: PacedCall): Change | undefined {
    if (!(call.tpotMs > 0)) return undefined
    const load = Math.log1p(call.inFlight)
    const row = Float64Array.of(1, load, load * load, Math.log1p(call.promptTokens) - 5)
    const figure = Math.log(call.tpotMs)
    this.#seen++
    if (!this.#beta) {
      this.#learn(row, figure)
      return undefined
    }
    this.#batch.push(figure - expected(this.#beta, row))
    if (this.#batch.length < BATCH) return undefined
    const mean = median(this.#batch)
    this.#batch = []
    return this.#look(mean - this.#mean)
  }

  /** Another watch of the same instance has noticed a change: what comes from now on is compared with what it was times `factor`. */
  follow(factor: number): void {
    this.#mean += Math.log(factor)
    this.#up = 0
    this.#down = 0
    this.#upSums = { calls: 0, sum: 0 }
    this.#downSums = { calls: 0, sum: 0 }
  }

  #learn(row: Float64Array, figure: number): void {
    this.#rows.push(row)
    this.#figures.push(figure)
    for (let a = 0; a < WIDTH; a++) {
      this.#moment[a] = (this.#moment[a] as number) + (row[a] as number) * figure
      for (let b = 0; b <= a; b++)
        this.#normal[a * WIDTH + b] = (this.#normal[a * WIDTH + b] as number) + (row[a] as number) * (row[b] as number)
    }
    if (this.#seen < LEARNED_CALLS) return
    const lower = this.#normal.slice()
    for (let a = 0; a < WIDTH; a++) lower[a * WIDTH + a] = (lower[a * WIDTH + a] as number) + 0.01 * LEARNED_CALLS
    const beta = solveSymmetric(lower, this.#moment.slice())
    const batches = Array.from({ length: Math.floor(LEARNED_CALLS / BATCH) }, (_, k) =>
      median(this.#rows.slice(k * BATCH, (k + 1) * BATCH).map((one, i) => (this.#figures[k * BATCH + i] as number) - expected(beta, one))),
    )
    this.#beta = beta
    this.#mean = median(batches)
    // From the median deviation, so that an outage among the first calls does not make the watch blind.
    this.#spread = Math.max(0.05, spreadAround(batches, this.#mean), Math.sqrt(TOGETHER) * spreadAround(grouped(batches), this.#mean))
    this.#rows.length = 0
    this.#figures.length = 0
  }

  #look(deviation: number): Change | undefined {
    const units = Math.max(-HELD_SPREADS, Math.min(HELD_SPREADS, deviation / this.#spread))
    const letGo = Math.max(LET_GO, LET_GO_LN / this.#spread)
    this.#up = Math.max(0, this.#up + units - letGo)
    this.#down = Math.max(0, this.#down - units - letGo)
    this.#upSums = this.#up === 0 ? { calls: 0, sum: 0 } : { calls: this.#upSums.calls + 1, sum: this.#upSums.sum + deviation }
    this.#downSums = this.#down === 0 ? { calls: 0, sum: 0 } : { calls: this.#downSums.calls + 1, sum: this.#downSums.sum + deviation }
    const sums = this.#up > ALARM ? this.#upSums : this.#down > ALARM ? this.#downSums : undefined
    if (!sums) return undefined
    const shift = sums.sum / sums.calls
    if (Math.abs(shift) < CHANGE_LEAST) return undefined
    const change = { factor: Math.exp(shift), calls: sums.calls * BATCH }
    this.follow(change.factor)
    return change
  }
}

function expected(beta: Float64Array, row: Float64Array): number {
  let sum = 0
  for (let k = 0; k < WIDTH; k++) sum += (beta[k] as number) * (row[k] as number)
  return sum
}

function spreadAround(values: readonly number[], middle: number): number {
  return 1.4826 * median(values.map((one) => Math.abs(one - middle)))
}

function grouped(batches: readonly number[]): number[] {
  return Array.from({ length: Math.floor(batches.length / TOGETHER) }, (_, k) => {
    const own = batches.slice(k * TOGETHER, (k + 1) * TOGETHER)
    return own.reduce((sum, one) => sum + one, 0) / own.length
  })
}
