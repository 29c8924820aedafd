import { CANDIDATE_COLUMNS } from '../placement/features.ts'
import type { Distribution, Policy } from '../placement/policy.ts'
import { recordedCall, recordedInstance } from '../placement/recorded.ts'
import type { Rng } from '../rng.ts'
import { type Columns, describeColumns } from './columns.ts'
import { percent } from './percent.ts'
import { type Linear, trainRidge } from './ridge.ts'

/** A logged decision with what came of it. */
export interface LoggedChoice {
  readonly arrivedUnixMs: number
  readonly callRow: Float32Array
  /** One row per candidate, one after another; the chosen one first. */
  readonly rows: Float32Array
  readonly names: readonly string[]
  /** Probability with which the chosen one was. */
  readonly propensity: number
  readonly e2eMs: number
}

/** What a policy would have cost per call, estimated from decisions of another. */
export interface OffPolicyEstimate {
  /** 1 − exp(mean ln E2E of the policy − that of what was served): above 0 is better. */
  readonly gain: number
  readonly low: number
  readonly high: number
  readonly decisions: number
  /** Share of decisions in which both would have chosen alike. */
  readonly agreement: number
  /** So many decisions as are as telling as all with their weights: (Σw)² ÷ Σw². */
  readonly effective: number
  readonly words: string
}

/** A rare choice counts at most so many times: beyond, variance outweighs what it corrects (Ionides, 2008, truncated importance sampling). */
const WEIGHT_MOST = 20
const DECISIONS_LEAST = 500
const PENALTY_ROWS = 50
/** Decisions are drawn by whole minutes, since calls of one share queues; where there are few minutes, by at least so many shorter stretches. */
const MINUTE_MS = 60_000
const STRETCHES_LEAST = 12
const SAMPLES = 500
const WIDTH = CANDIDATE_COLUMNS.length
/** Fewer effective decisions are no opinion. */
const EFFECTIVE_LEAST = 30

/**
 * Doubly robust estimate (Dudík, Langford and Li, ICML 2011) of ln E2E: a ridge regression on call and candidate row says what each choice would have cost, and the
 * logged outcomes of choices that the policy would have made too, weighted by 1 ÷ propensity, correct it. A second opinion beside the twin: it needs no model of
 * engines, but it judges each choice in the fleet that others have loaded, so that what a policy changes for later calls is not seen. Throws where there are
 * fewer than 500 decisions, or the policy keeps state.
 */
export function estimateOffPolicy(
  choices: readonly LoggedChoice[],
  { policy, rng }: { readonly policy: Policy; readonly rng: Rng },
): OffPolicyEstimate {
  if (policy.onPlaced || policy.onSettled) throw new Error(`${policy.name} keeps state: it cannot be asked what it would have done`)
  const usable = choices.filter((one) => one.e2eMs > 0 && one.propensity > 0 && one.names.length > 0)
  if (usable.length < DECISIONS_LEAST) throw new Error(`${usable.length} logged decisions, at least ${DECISIONS_LEAST} are needed`)
  const model = costModel(usable)
  const terms = usable.map((choice) => termsOf(choice, { policy, model }))
  const stretchMs = stretchOf(usable)
  const stretches = [...Map.groupBy(terms, (_, i) => Math.floor((usable[i] as LoggedChoice).arrivedUnixMs / stretchMs)).values()].map(
    (own) => ({
      sum: own.reduce((sum, one) => sum + one.difference, 0),
      count: own.length,
    }),
  )
  const meanOf = (units: readonly { readonly sum: number; readonly count: number }[]): number =>
    units.reduce((sum, one) => sum + one.sum, 0) /
    Math.max(
      1,
      units.reduce((sum, one) => sum + one.count, 0),
    )
  const drawn = Float64Array.from({ length: SAMPLES }, () =>
    meanOf(stretches.map(() => stretches[rng.int(stretches.length)] as (typeof stretches)[number])),
  ).sort()
  const gainAt = (share: number): number => 1 - Math.exp(drawn[Math.min(SAMPLES - 1, Math.floor(share * SAMPLES))] as number)
  const weights = terms.map((one) => one.weight)
  const sum = weights.reduce((total, one) => total + one, 0)
  const effective = sum === 0 ? 0 : sum ** 2 / weights.reduce((total, one) => total + one * one, 0)
  const estimate = {
    gain: 1 - Math.exp(meanOf(stretches)),
    low: gainAt(0.975),
    high: gainAt(0.025),
    decisions: usable.length,
    agreement: terms.filter((one) => one.agrees).length / usable.length,
    effective,
  }
  return { ...estimate, words: wordsOf(estimate) }
}

function stretchOf(choices: readonly LoggedChoice[]): number {
  let [first, last] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const { arrivedUnixMs } of choices) {
    first = Math.min(first, arrivedUnixMs)
    last = Math.max(last, arrivedUnixMs)
  }
  return Math.max(1, Math.min(MINUTE_MS, (last - first) / STRETCHES_LEAST))
}

interface Terms {
  /** Estimated ln E2E under the policy less what was logged. */
  readonly difference: number
  readonly weight: number
  readonly agrees: boolean
}

function termsOf(
  choice: LoggedChoice,
  { policy, model }: { readonly policy: Policy; readonly model: (choice: LoggedChoice, candidate: number) => number },
): Terms {
  const probabilities = probabilitiesOf(choice, policy)
  const logged = Math.log(choice.e2eMs)
  let expected = 0
  for (let i = 0; i < choice.names.length; i++) {
    const probability = probabilities[i] as number
    if (probability > 0) expected += probability * model(choice, i)
  }
  const own = probabilities[0] as number
  const weight = Math.min(WEIGHT_MOST, own / choice.propensity)
  return { difference: expected + weight * (logged - model(choice, 0)) - logged, weight, agrees: own > 0.5 }
}

function probabilitiesOf({ callRow, rows, names }: LoggedChoice, policy: Policy): Float64Array {
  const count = names.length
  const out: Distribution = { costs: new Float64Array(count), probabilities: new Float64Array(count) }
  const instances = names.map((name, slot) => recordedInstance(rows.subarray(slot * WIDTH, (slot + 1) * WIDTH), { slot, name }))
  policy.distribute({ count, instances, rows, callRow, nowMs: 0 }, recordedCall(callRow), out)
  return out.probabilities
}

/** ln E2E by call and candidate columns; what is unknown is taken for the column's mean. */
function costModel(choices: readonly LoggedChoice[]): (choice: LoggedChoice, candidate: number) => number {
  const raw = choices.map((choice) => rowOf(choice, 0))
  const means = knownMeans(raw)
  const rows = raw.map((row) => filled(row, means))
  const columns: Columns = describeColumns(rows)
  const width = rows[0]?.length ?? 0
  const linear: Linear = trainRidge(
    { rows, targets: Float64Array.from(choices, (one) => Math.log(one.e2eMs)), columns },
    { width, penaltyRows: PENALTY_ROWS },
  )
  return (choice, candidate) => {
    const row = filled(rowOf(choice, candidate), means)
    let sum = linear.bias
    for (let k = 0; k < width; k++) {
      const held = Math.min(columns.high[k] as number, Math.max(columns.low[k] as number, row[k] as number))
      sum += (linear.weights[k] as number) * held
    }
    return sum
  }
}

/** Counts and tokens by their logarithm: costs are products of them more than sums. */
function rowOf({ callRow, rows }: LoggedChoice, candidate: number): Float32Array {
  const own = rows.subarray(candidate * WIDTH, (candidate + 1) * WIDTH)
  const row = new Float32Array(callRow.length + WIDTH)
  row.set(callRow.map(squeezed))
  row.set(own.map(squeezed), callRow.length)
  return row
}

const squeezed = (value: number): number => Math.sign(value) * Math.log1p(Math.abs(value))

function knownMeans(rows: readonly Float32Array[]): Float32Array {
  return Float32Array.from({ length: rows[0]?.length ?? 0 }, (_, k) => {
    let [sum, count] = [0, 0]
    for (const row of rows) {
      if (Number.isNaN(row[k])) continue
      sum += row[k] as number
      count++
    }
    return count === 0 ? 0 : sum / count
  })
}

function filled(row: Float32Array, means: Float32Array): Float32Array {
  return row.map((value, k) => (Number.isNaN(value) ? (means[k] as number) : value))
}

function wordsOf({ gain, low, high, decisions, agreement, effective }: Omit<OffPolicyEstimate, 'words'>): string {
  if (effective < EFFECTIVE_LEAST)
    return `none, since ${decisions} logged decisions weigh only as much as ${effective.toFixed(0)}: too few chose as it would`
  return `by ${decisions} logged decisions ${percent(gain)} lower E2E per call (95 % interval ${percent(low)} to ${percent(high)}); it agrees with ${percent(agreement)} of them; queues it would leave to later calls are not in this`
}
