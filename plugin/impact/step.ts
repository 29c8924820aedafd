/**
 * The one step law: how long one step of a continuous-batching engine takes. Look-ahead, twin, virtual instance and
 * calibration all use this function and no other, so that what is predicted, simulated and fitted is the same thing.
 */

/** A straight line in ms: `baseMs + perTokenMs · tokens`. */
export interface Line {
  readonly baseMs: number
  readonly perTokenMs: number
}

/**
 * The coefficients of one instance type, plain JSON. With n = tokens computed in the step, B = decoding calls, KV = their context
 * tokens, c = a prefill chunk and k = tokens of that call already cached:
 *
 *   step = max over dense(base + perToken·n)
 *        + head.base + head.perCall·B
 *        + [B > 0] (decode.base + decode.perCall·B + decode.perContextToken·KV)
 *        + Σ chunks (prefill.base + prefill.perToken·c + prefill.perCachedProduct·c·k + prefill.perSquare·c²/2)
 *
 * Two dense lines because a step is bound by memory when small and by arithmetic when large. The simple law
 * t0 + a·prompt + a2·Σ2c(k + c/2) + b·B + c·KV is the same form (see `simpleLaw`).
 */
export interface StepLaw {
  /** At least one line; the highest counts. */
  readonly dense: readonly Line[]
  readonly head: { readonly baseMs: number; readonly perCallMs: number }
  readonly decode: { readonly baseMs: number; readonly perCallMs: number; readonly perContextTokenMs: number }
  readonly prefill: {
    readonly baseMs: number
    readonly perTokenMs: number
    readonly perCachedProductMs: number
    readonly perSquareMs: number
  }
}

/** What one step computes, as sums, so that no list per step is needed. */
export interface StepWork {
  /** n: all tokens computed in the step, decoded ones included. */
  tokens: number
  /** B: calls that decode one token. */
  decoding: number
  /** KV: context tokens of the decoding calls. */
  contextTokens: number
  /** Number of prefill chunks, Σ c, Σ c·k and Σ c². */
  chunks: number
  chunkTokens: number
  chunkCachedProducts: number
  chunkSquares: number
}

/** A step that computes nothing yet. */
export function emptyWork(): StepWork {
  return { tokens: 0, decoding: 0, contextTokens: 0, chunks: 0, chunkTokens: 0, chunkCachedProducts: 0, chunkSquares: 0 }
}

/** Sets every sum of `work` back to 0. */
export function clearWork(work: StepWork): void {
  work.tokens = 0
  work.decoding = 0
  work.contextTokens = 0
  work.chunks = 0
  work.chunkTokens = 0
  work.chunkCachedProducts = 0
  work.chunkSquares = 0
}

/** Adds one decoding call whose context is `contextTokens` long. */
export function addDecode(work: StepWork, contextTokens: number): void {
  work.tokens += 1
  work.decoding += 1
  work.contextTokens += contextTokens
}

/** Adds one prefill chunk of `chunk.tokens` after `chunk.cachedTokens` of the same call. */
export function addChunk(work: StepWork, chunk: { readonly tokens: number; readonly cachedTokens: number }): void {
  work.tokens += chunk.tokens
  work.chunks += 1
  work.chunkTokens += chunk.tokens
  work.chunkCachedProducts += chunk.tokens * chunk.cachedTokens
  work.chunkSquares += chunk.tokens * chunk.tokens
}

/** Duration of one step in ms. */
export function stepMs(law: StepLaw, work: StepWork): number {
  let durationMs = 0
  for (const line of law.dense) durationMs = Math.max(durationMs, line.baseMs + line.perTokenMs * work.tokens)
  durationMs += law.head.baseMs + law.head.perCallMs * work.decoding
  if (work.decoding > 0) {
    durationMs += law.decode.baseMs + law.decode.perCallMs * work.decoding + law.decode.perContextTokenMs * work.contextTokens
  }
  if (work.chunks > 0) {
    const { baseMs, perTokenMs, perCachedProductMs, perSquareMs } = law.prefill
    durationMs += baseMs * work.chunks + perTokenMs * work.chunkTokens
    durationMs += perCachedProductMs * work.chunkCachedProducts + (perSquareMs * work.chunkSquares) / 2
  }
  return durationMs
}

/** Coefficients of the simple law, named as in the scenario tables, all in ms. */
export interface SimpleCoefficients {
  readonly t0: number
  readonly a: number
  readonly a2: number
  readonly b: number
  readonly c: number
}

/** The simple law t0 + a·(prompt tokens computed) + a2·Σ 2c(k + c/2) + b·(decoding calls) + c·(their context tokens) as a `StepLaw`. */
export function simpleLaw({ t0, a, a2, b, c }: SimpleCoefficients): StepLaw {
  return {
    dense: [{ baseMs: t0, perTokenMs: 0 }],
    head: { baseMs: 0, perCallMs: 0 },
    decode: { baseMs: 0, perCallMs: b, perContextTokenMs: c },
    prefill: { baseMs: 0, perTokenMs: a, perCachedProductMs: 2 * a2, perSquareMs: 2 * a2 },
  }
}
