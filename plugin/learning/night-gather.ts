import { AT } from '../placement/features.ts'
import { LENGTH_FEATURE_HASH, ROW_WIDTH } from '../prediction/length-model.ts'
import type { Rng } from '../rng.ts'
import type { ServedInstance } from '../simulation/log-replay/traffic.ts'
import type { DatasetCounts, LoggedCall, LoggedDecision } from './dataset.ts'
import type { LengthExample } from './length.ts'
import { NothingToLearn } from './night-desk.ts'
import type { LoggedChoice } from './off-policy.ts'
import type { ProfileCall } from './profile-rows.ts'

/** What one pass over the log keeps of it: bounded, whatever the log's size. */
export interface Gathered {
  readonly counts: DatasetCounts
  /** The pool with the most calls: its arrivals and fleet are what the twin plays. */
  readonly pool: string
  /** Calls before this moment train, later ones judge. */
  readonly splitUnixMs: number
  /** The newest that train, and the first that judge, of that pool. */
  readonly training: readonly ProfileCall[]
  readonly heldOut: readonly ProfileCall[]
  readonly fleet: readonly ServedInstance[]
  /** Decisions of that pool that no training saw, with what came of them. */
  readonly choices: readonly LoggedChoice[]
  /** Answers to learn lengths from, and to judge by. */
  readonly lengths: readonly LengthExample[]
  readonly heldOutLengths: readonly HeldOutLength[]
  /** Answered rows without what a length model reads (text features off, or of another feature list). */
  readonly lengthsUnreadable: number
}

/** An answer that no training saw, with what the serving predictor had said of it. */
export interface HeldOutLength extends LengthExample {
  readonly application: string
  /** Mean tokens predicted when the call came; NaN where nothing was. */
  readonly predictedTokens: number
}

/** Calls of the pool kept on either side of the split: two days at 0.3 calls/s, an hour at 10; the twin plays 200,000 a second. */
export const SERVED_CALLS_MAX = 30_000
/** Answers that train: beyond, a length model gains under a thousandth (learning curve of bench length). */
export const LENGTH_ROWS_MAX = 24_000
/** Of those at most this share of one application: a single caller must not drown the others, whatever it floods the log with. */
export const APPLICATION_SHARE_MAX = 0.4
const SPEED = AT.speed
const KV_TOKENS = AT.kvTokensCapacity
const HELD_OUT_LENGTHS_MAX = 6_000
/** Decisions that a second opinion is formed from: 2 KB each at eight instances. */
const CHOICES_MAX = 8_000
/** Fewer answered calls say nothing that a shipped model does not know better. */
export const CALLS_LEAST = 400

export interface Gathering {
  readonly calls: Iterable<LoggedCall>
  readonly counts: DatasetCounts
  readonly splitUnixMs: number
  readonly rng: Rng
  /** Only this application's answers train the length predictor. */
  readonly application?: string | undefined
  /** Told now and then how many calls were passed; waits, and may throw. */
  readonly told: (calls: number) => Promise<void>
}

/** Reads the calls once and keeps what a night needs. Throws NothingToLearn where there is too little, in words. */
export async function gather({ calls, counts, splitUnixMs, rng, application, told }: Gathering): Promise<Gathered> {
  const pools = new Map<string, PoolGathering>()
  const lengths = new LengthGathering(rng.stream('lengths'), application)
  let passed = 0
  let completed = 0
  for (const call of calls) {
    if (++passed % 2_000 === 0) await told(passed)
    if (call.outcome === 'completed') completed++
    const pool = pools.get(call.pool) ?? new PoolGathering(rng.stream(`choices ${call.pool}`))
    pools.set(call.pool, pool)
    pool.add(call, call.arrivedUnixMs < splitUnixMs)
    lengths.add(call, call.arrivedUnixMs < splitUnixMs)
  }
  if (counts.read === 0) throw new NothingToLearn('there are no calls in this window: choose another, or let traffic through first')
  if (completed === 0)
    throw new NothingToLearn(`none of the ${counts.read} calls in this window was answered: nothing can be learned from failures alone`)
  if (completed < CALLS_LEAST)
    throw new NothingToLearn(`only ${completed} answered calls in this window; ${CALLS_LEAST} are the least that say anything`)
  const [name, pool] = [...pools].reduce((most, one) => (one[1].calls > most[1].calls ? one : most))
  return { counts, pool: name, splitUnixMs, ...pool.result(), ...lengths.result() }
}

/** Arrivals and instances of one pool. */
class PoolGathering {
  calls = 0
  #training: ProfileCall[] = []
  readonly #heldOut: ProfileCall[] = []
  readonly #fleet = new Map<string, ServedInstance>()
  readonly #choices: LoggedChoice[] = []
  #choicesSeen = 0
  readonly #rng: Rng

  constructor(rng: Rng) {
    this.#rng = rng
  }

  add(call: LoggedCall, trains: boolean): void {
    this.calls++
    this.#meet(call)
    if (!trains) {
      if (this.#heldOut.length < SERVED_CALLS_MAX) this.#heldOut.push(servedCall(call))
      if (call.decision && call.outcome === 'completed') {
        this.#choicesSeen++
        keep(this.#choices, choiceOf(call, call.decision), { seen: this.#choicesSeen, most: CHOICES_MAX, rng: this.#rng })
      }
      return
    }
    this.#training.push(servedCall(call))
    if (this.#training.length >= 2 * SERVED_CALLS_MAX) this.#training = this.#training.slice(-SERVED_CALLS_MAX)
  }

  result(): Pick<Gathered, 'training' | 'heldOut' | 'fleet' | 'choices'> {
    const fleet = [...this.#fleet.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
    return { training: this.#training.slice(-SERVED_CALLS_MAX), heldOut: this.#heldOut, fleet, choices: this.#choices }
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

/** Answers, drawn evenly over time with a bound per application (reservoir sampling; Vitter, 1985, algorithm R). */
class LengthGathering {
  readonly #rng: Rng
  readonly #only: string | undefined
  readonly #byApplication = new Map<string, { seen: number; readonly kept: LengthExample[] }>()
  readonly #heldOut: HeldOutLength[] = []
  #heldOutSeen = 0
  #unreadable = 0

  constructor(rng: Rng, only: string | undefined) {
    this.#rng = rng
    this.#only = only
  }

  add(call: LoggedCall, trains: boolean): void {
    const answered = call.outputTokens !== null && call.outputTokens > 0 && call.api !== 'openai-embeddings'
    if (!answered || (this.#only !== undefined && call.application !== this.#only)) return
    if (call.lengthRow?.length !== ROW_WIDTH || call.lengthFeatureHash !== LENGTH_FEATURE_HASH) {
      this.#unreadable++
      return
    }
    const example = {
      row: Float32Array.from(call.lengthRow),
      words: call.words,
      outputTokens: call.outputTokens as number,
      censored: call.censored,
    }
    if (trains) {
      const own = this.#byApplication.get(call.application) ?? { seen: 0, kept: [] }
      this.#byApplication.set(call.application, own)
      own.seen++
      keep(own.kept, example, { seen: own.seen, most: APPLICATION_SHARE_MAX * LENGTH_ROWS_MAX, rng: this.#rng })
    } else {
      this.#heldOutSeen++
      const judged = { ...example, application: call.application, predictedTokens: call.predictedOutputTokens ?? Number.NaN }
      keep(this.#heldOut, judged, { seen: this.#heldOutSeen, most: HELD_OUT_LENGTHS_MAX, rng: this.#rng })
    }
  }

  result(): Pick<Gathered, 'lengths' | 'heldOutLengths' | 'lengthsUnreadable'> {
    const groups = [...this.#byApplication].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { kept }]) => kept)
    return { lengths: share(groups), heldOutLengths: this.#heldOut, lengthsUnreadable: this.#unreadable }
  }
}

function keep<T>(kept: T[], one: T, { seen, most, rng }: { readonly seen: number; readonly most: number; readonly rng: Rng }): void {
  if (kept.length < most) kept.push(one)
  else {
    const at = rng.int(seen)
    if (at < most) kept[at] = one
  }
}

/** All groups together, none above its share of what comes out, and at most LENGTH_ROWS_MAX in all. One group alone stays whole. */
function share(groups: readonly LengthExample[][]): LengthExample[] {
  const total = Math.min(
    LENGTH_ROWS_MAX,
    groups.reduce((sum, one) => sum + one.length, 0),
  )
  const most = groups.length > 1 ? Math.ceil(APPLICATION_SHARE_MAX * total) : total
  return groups.flatMap((one) => one.slice(0, most)).slice(0, LENGTH_ROWS_MAX)
}

/** The call as calibration and twin take it. */
export function servedCall(call: LoggedCall): ProfileCall {
  const { arrivedUnixMs, application, tenant, task, maxTokens, instance, predictedOutputTokens, outcome, ttftMs, tpotMs, e2eMs } = call
  const { outputTokens, prefixBlocks, placedMs } = call
  const promptTokens = call.promptTokens ?? call.promptTokensEstimate
  const traffic = { arrivedUnixMs, application, tenant, task, maxTokens, instance, predictedOutputTokens, outcome }
  return { ...traffic, promptTokens, ttftMs, tpotMs, e2eMs, outputTokens, prefixBlocks, placedMs }
}
