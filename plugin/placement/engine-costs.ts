import { type EngineShape, SHAPE_BLOCK_TOKENS } from '../impact/engine-shape.ts'
import { clearWork, emptyWork, stepMs } from '../impact/step.ts'

/** Ready-made answers about one engine type, in ms; all of them by the one step law. */
export interface EngineCosts {
  readonly shape: EngineShape
  readonly kvTokens: number
  /** A step is either prefill or decode. */
  readonly prefillAlone: boolean
  /** What one more decoding call adds to a step, beside its context. */
  readonly perCallMs: number
  readonly perContextTokenMs: number
}

/** Calls beside which the cost of one more is measured: enough for a step that is not bound by its base. */
const BESIDE_CALLS = 32

const known = new WeakMap<EngineShape, EngineCosts>()
const work = emptyWork()

/** The costs of a shape; computed once for each. */
export function costsOf(shape: EngineShape): EngineCosts {
  const found = known.get(shape)
  if (found) return found
  const made = {
    shape,
    kvTokens: shape.kvBlocks * SHAPE_BLOCK_TOKENS,
    prefillAlone: shape.order === 'v0',
    perCallMs: decodeMs(shape, BESIDE_CALLS + 1, 0) - decodeMs(shape, BESIDE_CALLS, 0),
    perContextTokenMs: shape.law.decode.perContextTokenMs,
  }
  known.set(shape, made)
  return made
}

/** One decode step of `calls` with `contextTokens` in all. */
export function decodeMs({ law }: EngineShape, calls: number, contextTokens: number): number {
  clearWork(work)
  work.tokens = calls
  work.decoding = calls
  work.contextTokens = contextTokens
  return stepMs(law, work)
}

/**
 * What computing `tokens` of prompts adds for those that decode meanwhile: the whole step where prefill runs alone, else what the step grows by. Taken as one
 * chunk after `cachedTokens` of it.
 */
export function prefillMs({ shape, prefillAlone }: EngineCosts, tokens: number, cachedTokens: number): number {
  if (!(tokens > 0)) return 0
  const beside = prefillAlone ? 0 : 1
  clearWork(work)
  work.tokens = tokens + beside
  work.decoding = beside
  work.chunks = 1
  work.chunkTokens = tokens
  work.chunkCachedProducts = tokens * cachedTokens
  work.chunkSquares = tokens * tokens
  const withMs = stepMs(shape.law, work)
  return prefillAlone ? withMs : withMs - decodeMs(shape, 1, 0)
}
