import { addChunk, emptyWork, type StepLaw, stepMs } from './step.ts'

/** What the look-ahead must know of an instance type: its step law and the settings that decide what runs together. A twin's profile is one. */
export interface EngineShape {
  readonly law: StepLaw
  /** 'v1': chunked prefill beside decodes; 'v0': a step is either prefill, which stops all decodes, or decode. */
  readonly order: 'v0' | 'v1'
  /** KV blocks of 16 tokens; an instance that tells its own capacity is believed instead. */
  readonly kvBlocks: number
  readonly seats: number
  readonly budgetTokens: number
  /** Share of the KV that admission may fill, 0..1. */
  readonly admissionKvRatio: number
}

/** Tokens per KV block of `EngineShape.kvBlocks`, vLLM's default on GPUs. */
export const SHAPE_BLOCK_TOKENS = 16

/**
 * What an instance is taken for where nobody named its profile: A100 with Llama-3-8B, the most common shape among public measurements (Vidur,
 * Agrawal et al., MLSys 2024, coefficients as in the shipped profile `a100-llama-3-8b`), with vLLM's defaults.
 */
const REFERENCE: EngineShape = {
  law: {
    dense: [
      { baseMs: 9.791, perTokenMs: 0.02225 },
      { baseMs: 4.116, perTokenMs: 0.06811 },
    ],
    head: { baseMs: 0, perCallMs: 0 },
    decode: { baseMs: 0, perCallMs: 0, perContextTokenMs: 9.2e-5 },
    prefill: { baseMs: 0, perTokenMs: 0, perCachedProductMs: 0, perSquareMs: 0 },
  },
  order: 'v1',
  kvBlocks: 25_000,
  seats: 256,
  budgetTokens: 2_048,
  admissionKvRatio: 1,
}

const bySpeed = new Map<number, EngineShape>()
/** Speeds are written by operators: a handful. The bound only guards against a source that invents new ones. */
const SPEEDS_MAX = 1_024

/** The reference shape with every duration divided by `speed` (> 0): what is believed of an instance without a profile. */
export function shapeOfSpeed(speed: number): EngineShape {
  const known = bySpeed.get(speed)
  if (known) return known
  if (bySpeed.size >= SPEEDS_MAX) bySpeed.clear()
  const shape = { ...REFERENCE, law: scaleLaw(REFERENCE.law, 1 / speed) }
  bySpeed.set(speed, shape)
  return shape
}

/** The law with every duration multiplied by `factor`. */
export function scaleLaw({ dense, head, decode, prefill }: StepLaw, factor: number): StepLaw {
  return {
    dense: dense.map(({ baseMs, perTokenMs }) => ({ baseMs: baseMs * factor, perTokenMs: perTokenMs * factor })),
    head: { baseMs: head.baseMs * factor, perCallMs: head.perCallMs * factor },
    decode: {
      baseMs: decode.baseMs * factor,
      perCallMs: decode.perCallMs * factor,
      perContextTokenMs: decode.perContextTokenMs * factor,
    },
    prefill: {
      baseMs: prefill.baseMs * factor,
      perTokenMs: prefill.perTokenMs * factor,
      perCachedProductMs: prefill.perCachedProductMs * factor,
      perSquareMs: prefill.perSquareMs * factor,
    },
  }
}

/** Most prompt tokens per ms: a step that is one chunk of the whole budget. */
export function peakPrefillTokensPerMs({ law, budgetTokens }: Pick<EngineShape, 'law' | 'budgetTokens'>): number {
  const work = emptyWork()
  addChunk(work, { tokens: budgetTokens, cachedTokens: 0 })
  return budgetTokens / stepMs(law, work)
}
