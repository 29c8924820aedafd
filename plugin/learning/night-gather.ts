import { AT } from '../placement/features.ts'
import type { Rng } from '../rng.ts'
import type { ServedInstance } from '../simulation/log-replay/traffic.ts'
import type { DatasetCounts, LoggedCall, LoggedDecision } from './dataset.ts'
import type { LengthExample } from './length.ts'
import { NothingToLearn } from './night-desk.ts'
import { type HeldOutLength, keep, LengthGathering } from './night-gather-lengths.ts'
import type { LoggedChoice } from './off-policy.ts'
import type { ProfileCall } from './profile-rows.ts'

/** One pool's arrivals and instances. */
export interface PoolCalls {
  readonly pool: string
  /** The newest that train, and the first that judge. */
  readonly training: readonly ProfileCall[]
  readonly heldOut: readonly ProfileCall[]
  readonly fleet: readonly ServedInstance[]
  /** Decisions of that pool that no training saw, with what came of them. */
  readonly choices: readonly LoggedChoice[]
}

/** What one pass over the log keeps of it: bounded, whatever the log's size. The pool is the one with the most calls: the twin trains on it. */
export interface Gathered extends PoolCalls {
  readonly counts: DatasetCounts
  /** Calls before this moment train, later ones judge. */
  readonly splitUnixMs: number
  /** The next ones by calls: a policy serves them too, so that it is judged on them as well. */
  readonly others: readonly PoolCalls[]
  /** Answers to learn lengths from, and to judge by. */
  readonly lengths: readonly LengthExample[]
  readonly heldOutLengths: readonly HeldOutLength[]
  /** Answered rows without what a length model reads (text features off, or of another feature list). */
  readonly lengthsUnreadable: number
}

/** Calls of the pool kept on either side of the split: two days at 0.3 calls/s, an hour at 10; the twin plays 200,000 a second. */
export const SERVED_CALLS_MAX = 30_000
/** Pools whose calls are kept: each costs memory, and the night a calibration and a replay. Chosen. */
export const POOLS_MAX = 4
const SPEED = AT.speed
const KV_TOKENS = AT.kvTokensCapacity
/** Decisions that a second opinion is formed from: 2 KB each at eight instances. */
const CHOICES_MAX = 4_000
/** Fewer answered calls say nothing that a shipped model does not know better. */
export const CALLS_LEAST = 400

export interface Gathering {
  readonly calls: Iterable<LoggedCall>
  readonly counts: DatasetCounts
  /** Names of the pools that were called, the most called first. */
  readonly pools: readonly string[]
  readonly splitUnixMs: number
  readonly rng: Rng
  /** Only this application's answers train the length predictor. */
  readonly application?: string | undefined
  /** Told now and then how many calls were passed; waits, and may throw. */
  readonly told: (calls: number) => Promise<void>
}

/** Reads the calls once and keeps what a night needs. Throws NothingToLearn where there is too little, in words. */
export async function gather({ calls, counts, pools, splitUnixMs, rng, application, told }: Gathering): Promise<Gathered> {
  const kept = new Map(pools.slice(0, POOLS_MAX).map((name) => [name, new PoolGathering(name, rng.stream(`choices ${name}`))]))
  const lengths = new LengthGathering(rng.stream('lengths'), application)
  let passed = 0
  let completed = 0
  for (const call of calls) {
    if (++passed % 2_000 === 0) await told(passed)
    if (call.outcome === 'completed') completed++
    kept.get(call.pool)?.add(call, call.arrivedUnixMs < splitUnixMs)
    lengths.add(call, call.arrivedUnixMs < splitUnixMs)
  }
  if (counts.read === 0) throw new NothingToLearn('there are no calls in this window: choose another, or let traffic through first')
  const leftOut = leftOutWords(counts)
  const beside = leftOut === '' ? '' : ` (left out: ${leftOut})`
  if (counts.used === 0) throw new NothingToLearn(`none of the ${counts.read} rows in this window can be used${beside}`)
  if (completed === 0)
    throw new NothingToLearn(
      `none of the ${counts.used} calls in this window was answered: nothing can be learned from failures alone${beside}`,
    )
  if (completed < CALLS_LEAST)
    throw new NothingToLearn(`only ${completed} answered calls in this window; ${CALLS_LEAST} are the least that say anything${beside}`)
  // Not by what the log holds, but by what of it can be used.
  const [first, ...others] = [...kept.values()].sort((a, b) => b.calls - a.calls).map((pool) => pool.result())
  return { counts, splitUnixMs, ...(first as PoolCalls), others, ...lengths.result() }
}

/** Rows that were left out by reason, as people read them; empty where there are none. */
export function leftOutWords({ leftOut }: Pick<DatasetCounts, 'leftOut'>): string {
  return Object.entries(leftOut)
    .map(([why, count]) => `${count} ${why}`)
    .join(', ')
}

/** Arrivals and instances of one pool. */
class PoolGathering {
  calls = 0
  readonly #name: string
  #training: ProfileCall[] = []
  readonly #heldOut: ProfileCall[] = []
  readonly #fleet = new Map<string, ServedInstance>()
  readonly #choices: LoggedChoice[] = []
  #choicesSeen = 0
  readonly #rng: Rng

  constructor(name: string, rng: Rng) {
    this.#name = name
    this.#rng = rng
  }

  add(call: LoggedCall, trains: boolean): void {
    this.calls++
    this.#meet(call)
    if (!trains) {
      if (this.#heldOut.length < SERVED_CALLS_MAX) this.#heldOut.push(servedCall(call))
      if (call.decision && call.outcome === 'completed') {
        this.#choicesSeen++
        const { decision } = call
        keep(this.#choices, () => choiceOf(call, decision), { seen: this.#choicesSeen, most: CHOICES_MAX, rng: this.#rng })
      }
      return
    }
    this.#training.push(servedCall(call))
    if (this.#training.length >= 2 * SERVED_CALLS_MAX) this.#training = this.#training.slice(-SERVED_CALLS_MAX)
  }

  result(): PoolCalls {
    const fleet = [...this.#fleet.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
    return { pool: this.#name, training: this.#training.slice(-SERVED_CALLS_MAX), heldOut: this.#heldOut, fleet, choices: this.#choices }
  }

  #meet({ decision, instance }: LoggedCall): void {
    if (!decision) {
      if (instance !== null && !this.#fleet.has(instance)) this.#fleet.set(instance, { name: instance, speed: 1, kvTokens: Number.NaN })
      return
    }
    const width = decision.rows.length / Math.max(1, decision.instances.length)
    decision.instances.forEach((name, k) => {
      const known = this.#fleet.get(name)
      const speed = decision.rows[k * width + SPEED] as number
      const kvTokens = decision.rows[k * width + KV_TOKENS] as number
      const next = {
        name,
        speed: speed > 0 ? speed : (known?.speed ?? 1),
        kvTokens: kvTokens > 0 ? kvTokens : (known?.kvTokens ?? Number.NaN),
      }
      if (known?.speed !== next.speed || known?.kvTokens !== next.kvTokens) this.#fleet.set(name, next)
    })
  }
}

function choiceOf({ arrivedUnixMs, propensity, e2eMs }: LoggedCall, { callRow, rows, instances }: LoggedDecision): LoggedChoice {
  return { arrivedUnixMs, callRow, rows, names: instances, propensity, e2eMs }
}

/** The call as calibration and twin take it. */
export function servedCall(call: LoggedCall): ProfileCall {
  const { arrivedUnixMs, application, tenant, task, maxTokens, instance, predictedOutputTokens, outcome, ttftMs, tpotMs, e2eMs } = call
  const { outputTokens, prefixBlocks, placedMs } = call
  const promptTokens = call.promptTokens ?? call.promptTokensEstimate
  const traffic = { arrivedUnixMs, application, tenant, task, maxTokens, instance, predictedOutputTokens, outcome }
  return { ...traffic, promptTokens, ttftMs, tpotMs, e2eMs, outputTokens, prefixBlocks, placedMs }
}
