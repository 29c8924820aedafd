import type { Call } from '../call/call.ts'
import type { InstanceView } from '../fleet/instance.ts'
import { believedKvTokens, believedWaiting, kvCapacityTokens } from './belief.ts'
import { CALL_COLUMNS, CANDIDATE_COLUMNS } from './features.ts'
import type { Candidates, Distribution } from './policy.ts'

/** Where a predicted output length lies: half of such answers stay below `p50Tokens`, nine in ten below `p90Tokens`. */
export interface OutputSpan {
  readonly p50Tokens: number
  readonly p90Tokens: number
  /** Standard deviation of ln tokens: 0.5 is a factor of 1.65 either way. */
  readonly spreadLn: number
}

/** What is known of the call beyond itself, before it is placed (I4). Tokens; NaN is unknown. */
export interface CallFacts {
  readonly promptTokens: number
  /** Mean of the predicted output length. */
  readonly predictedOutputTokens: number
  /** Absent where only a mean is known, or nothing. */
  readonly outputSpan?: OutputSpan
  /** LoRA adapter asked for: the model name is one the pool knows as an adapter. */
  readonly adapter?: string
  /** How long the call was held before this decision, ms; 0 when it came just now. */
  readonly heldMs?: number
}

export interface CandidateInput {
  readonly call: Call
  readonly facts: CallFacts
  /** The first `count` entries are the candidates, in name order. */
  readonly instances: readonly InstanceView[]
  readonly count: number
  /** Prefix blocks of this call each instance is believed to hold, by instance slot; empty when the call has none. */
  readonly matchedBlocks: ArrayLike<number>
  readonly nowMs: number
}

/** Rows, costs and probabilities of one decision, in arrays that live as long as the router and grow by need. */
export interface Workbench {
  /** Fills the rows for `input` and returns them; valid until the next call. */
  fill(input: CandidateInput): Candidates
  readonly out: Distribution
}

/** A workbench of its own for each router. */
export function createWorkbench(): Workbench {
  const callRow = new Float32Array(CALL_COLUMNS.length)
  let rows = new Float32Array(16 * CANDIDATE_COLUMNS.length)
  let out: Distribution = { costs: new Float64Array(16), probabilities: new Float64Array(16) }
  return {
    fill(input) {
      const { count } = input
      if (out.costs.length < count) {
        rows = new Float32Array(2 * count * CANDIDATE_COLUMNS.length)
        out = { costs: new Float64Array(2 * count), probabilities: new Float64Array(2 * count) }
      }
      let poolInFlight = 0
      for (let i = 0; i < count; i++) {
        const instance = input.instances[i] as InstanceView
        poolInFlight += instance.ledger.inFlight
        writeCandidateRow(rows, i * CANDIDATE_COLUMNS.length, instance, input)
      }
      writeCallRow(callRow, input, poolInFlight)
      return { count, instances: input.instances, rows, callRow, nowMs: input.nowMs }
    },
    get out() {
      return out
    },
  }
}

/** The order below is that of CALL_COLUMNS; a test holds the two together. */
function writeCallRow(row: Float32Array, { call, facts, count }: CandidateInput, poolInFlight: number): void {
  const { request } = call
  row[0] = facts.promptTokens
  row[1] = call.promptBytes
  row[2] = request.maxTokens ?? Number.NaN
  row[3] = call.stream ? 1 : 0
  row[4] = request.answers
  row[5] = request.turns
  row[6] = request.tools
  row[7] = request.stops
  row[8] = request.temperature ?? Number.NaN
  row[9] = request.responseFormat === 'text' ? 0 : 1
  row[10] = call.caller.priority
  row[11] = call.prefixBlocks.length
  row[12] = facts.predictedOutputTokens
  row[13] = count
  row[14] = poolInFlight
  row[15] = facts.heldMs ?? 0
  const { outputSpan } = facts
  row[16] = outputSpan === undefined ? Number.NaN : outputSpan.p50Tokens
  row[17] = outputSpan === undefined ? Number.NaN : outputSpan.p90Tokens
  row[18] = outputSpan === undefined ? Number.NaN : outputSpan.spreadLn
}

/** The order below is that of CANDIDATE_COLUMNS; a test holds the two together. */
function writeCandidateRow(
  rows: Float32Array,
  at: number,
  instance: InstanceView,
  { call, facts, matchedBlocks, nowMs }: CandidateInput,
): void {
  const { ledger, scrape } = instance
  const { adapter } = facts
  rows[at] = ledger.inFlight
  rows[at + 1] = ledger.prefillTokensPending
  rows[at + 2] = ledger.promptTokens
  rows[at + 3] = ledger.outputTokensLeft
  rows[at + 4] = ledger.outputTokensDone
  rows[at + 5] = instance.speed
  rows[at + 6] = instance.weight
  rows[at + 7] = instance.slowStartRatio
  const ageMs = scrape.ageMs(nowMs)
  rows[at + 8] = ageMs < Number.POSITIVE_INFINITY ? ageMs : Number.NaN
  rows[at + 9] = scrape.waiting
  rows[at + 10] = scrape.running
  rows[at + 11] = scrape.kvUsageRatio
  rows[at + 12] = scrape.foreignInFlight
  const blocks = call.prefixBlocks.length
  rows[at + 13] = blocks === 0 ? 0 : (matchedBlocks[instance.slot] ?? 0) / blocks
  rows[at + 14] = adapter === undefined ? Number.NaN : scrape.adapters.has(adapter) ? 1 : 0
  rows[at + 15] = ledger.awaitingFirstToken
  rows[at + 16] = believedWaiting(instance)
  rows[at + 17] = believedKvTokens(instance)
  rows[at + 18] = kvCapacityTokens(instance)
}
