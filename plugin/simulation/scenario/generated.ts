import type { Rng } from '../../rng.ts'
import { sealOutput } from '../fleet/truth.ts'
import { type CallStream, callerOf, describeCall, type TwinCall } from '../fleet/twin-call.ts'
import { KV_BLOCK_TOKENS } from '../profiles.ts'
import { gammaGaps, poissonGaps } from './arrivals.ts'
import { type LengthErrors, predictionOf } from './length-errors.ts'
import type { Mix, MixCall } from './mixes.ts'

/** A generated workload: how many calls, how fast, of what. */
export interface GeneratedPlan {
  readonly mix: Mix
  readonly callsPerS: number
  readonly calls: number
  /** Gamma arrivals with this coefficient of variation; Poisson without. */
  readonly arrivalCv?: number
  /** Spread of the predicted length: d̂ = max(1, round(d·e^(σ·N(0,1)))). */
  readonly sigma: number
  /** What predicted lengths are instead. */
  readonly errors?: LengthErrors | undefined
  /** Tokens of a system prompt that all calls of one application share; none by default. */
  readonly systemTokens?: number
  readonly rng: Rng
}

/**
 * Calls of a mix, drawn as they are asked for. Arrivals, contents and prediction errors come from dice of their own, so that every policy meets the
 * same calls, and another σ or rate changes nothing else (common random numbers).
 */
export function generateCalls(plan: GeneratedPlan): CallStream {
  const { mix, rng } = plan
  const arrivals = rng.stream('arrivals')
  const contents = rng.stream('contents')
  const errors = rng.stream('prediction errors')
  const gapMs =
    plan.arrivalCv === undefined
      ? poissonGaps(plan.callsPerS, arrivals)
      : gammaGaps({ callsPerS: plan.callsPerS, cv: plan.arrivalCv }, arrivals)
  const callers = new Map<string, TwinCall['call']['caller']>()
  let atMs = 0
  let id = 0
  return {
    next() {
      if (id >= plan.calls) return undefined
      atMs += gapMs()
      const drawn = mix(contents)
      const caller = callers.get(drawn.application) ?? callerOf(drawn.application, drawn.task)
      callers.set(drawn.application, caller)
      return describeDrawn({
        ...drawn,
        atMs,
        id: ++id,
        caller,
        prediction: predictionOf(drawn.outputTokens, plan, errors),
        systemTokens: plan.systemTokens ?? 0,
      })
    },
  }
}

interface Drawn extends MixCall {
  readonly atMs: number
  readonly id: number
  readonly caller: TwinCall['call']['caller']
  readonly prediction: Pick<TwinCall, 'predictedTokens' | 'predicted'>
  readonly systemTokens: number
}

function describeDrawn({ atMs, id, caller, prediction, systemTokens, ...drawn }: Drawn): TwinCall {
  const promptTokens = drawn.promptTokens + systemTokens
  const shared = systemTokens === 0 ? undefined : sharedPrefix(drawn.application, systemTokens)
  return {
    atMs,
    promptTokens,
    outputTokens: sealOutput(drawn.outputTokens),
    ...prediction,
    call: describeCall({ id, atMs, promptTokens, caller, ...(shared ? { prefixBlocks: shared.prefixBlocks } : {}) }),
    blockHashes: shared ? shared.blockHashes : NO_HASHES,
  }
}

const NO_HASHES: readonly number[] = []

/** Tokens of one prefix block of the router: 256 bytes of text at 4 bytes per token. */
const PREFIX_BLOCK_TOKENS = 64

interface SharedPrefix {
  readonly blockHashes: Float64Array
  readonly prefixBlocks: BigUint64Array
}

const prefixes = new Map<string, SharedPrefix>()

/** Block hashes of an application's system prompt, the same objects each time. */
function sharedPrefix(application: string, tokens: number): SharedPrefix {
  const key = `${tokens} ${application}`
  const known = prefixes.get(key)
  if (known) return known
  const family = (prefixes.size + 1) * 1_000_000
  const made = {
    blockHashes: Float64Array.from({ length: Math.floor(tokens / KV_BLOCK_TOKENS) }, (_, i) => family + i),
    prefixBlocks: BigUint64Array.from({ length: Math.floor(tokens / PREFIX_BLOCK_TOKENS) }, (_, i) => BigInt(family + i)),
  }
  prefixes.set(key, made)
  return made
}
