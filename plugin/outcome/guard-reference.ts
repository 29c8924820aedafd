import { solveSymmetric } from '../call/solve.ts'

/** A stretch of calls whose mean is looked at: at least so long and so many. */
export interface Stretch {
  readonly spanMs: number
  readonly calls: number
}

/** What the guard of a canary looks at: within 60 s or 200 calls, whichever is later, there is room for the longer one more than once. Chosen. */
export const STRETCHES: readonly Stretch[] = [
  { spanMs: 15_000, calls: 50 },
  { spanMs: 30_000, calls: 100 },
]

/** Residuals are held to this many units (ln, mostly; e³ = 20 times): one absurd call must not decide. */
const HELD = 3
const RIDGE = 1e-3
/** Calls per column that a fit needs before its residuals mean anything. Chosen. */
const FITTED_CALLS = 40
/** Memory of what control calls taught, in calls: the fit follows a fleet that changes within an hour or so. */
const FORGET_PER_CALL = 1 / 20_000
/**
 * Stretches before a challenger may be judged by the strays of control's own. Below STRETCHES_KNOWN of them a stray is known less well, and a challenger has to
 * exceed it by as much more as its upper 95 % confidence limit lies higher.
 */
const STRETCHES_LEAST = 10
/** What the deviations of the guard were chosen with, by A/A runs of the twin. */
const STRETCHES_KNOWN = 20
const FORGET_PER_STRETCH = 1 / 200
/** Memory of the level that control has drifted to, ms: a few blocks. Chosen. */
const LEVEL_MEMORY_MS = 180_000
/** Calls further apart are no stretch: somebody else's block lay between. */
const GAP_MS = 10_000

interface Running {
  startMs: number
  lastMs: number
  sum: number
  calls: number
  known: number
  squares: number
  most: number
}

/**
 * What control calls lead one to expect of a call's figure at its load, learned call by call: a linear fit, and how far the means of whole stretches stray from it. Calls of one minute
 * share their queues, so that such a mean strays much further than as many independent calls would; strays of whole stretches, and the worst of
 * them, are what a challenger has to exceed.
 */
export class Reference {
  readonly #width: number
  /** On top of the worst stray of control, in units of the figure. */
  readonly #spare: number
  readonly #normal: Float64Array
  readonly #moment: Float64Array
  /** As of the beginning of the block, as the level is: a fit that learns from a queue while it lasts hides how far that queue strays. */
  #beta: Float64Array
  #learned = 0
  #isFitted = false
  /** Where control's residuals have been lately, and where they were when the block began: a fleet that drifts, drifts in both arms. */
  #level = 0
  #levelMs = Number.NaN
  #blockLevel = 0
  readonly #running: readonly Running[] = STRETCHES.map(() => ({ startMs: 0, lastMs: 0, sum: 0, calls: 0, known: 0, squares: 0, most: 0 }))

  constructor({ width, spare }: { readonly width: number; readonly spare: number }) {
    this.#width = width
    this.#spare = spare
    this.#normal = new Float64Array(width * width)
    this.#moment = new Float64Array(width)
    this.#beta = new Float64Array(width)
  }

  /** There was enough to fit when the block began: what is expected means something. */
  get isFitted(): boolean {
    return this.#isFitted
  }

  /** Strays of both stretches are known. */
  get isReady(): boolean {
    return this.#running.every((one) => one.known >= STRETCHES_LEAST)
  }

  /** The figure less what was expected, held within bounds. */
  residual(row: Float64Array, figure: number): number {
    return Math.min(HELD, Math.max(-HELD, figure - this.expect(row)))
  }

  /** What control lets one expect, as of the beginning of the block. */
  expect(row: Float64Array): number {
    let sum = this.#blockLevel
    for (let k = 0; k < this.#width; k++) sum += (row[k] as number) * (this.#beta[k] as number)
    return sum
  }

  /** A block begins, whosever it is: what it is judged by stands from now on. */
  freeze(): void {
    this.#blockLevel = this.#level
    this.#isFitted = this.#learned >= FITTED_CALLS * this.#width
    if (this.#isFitted) this.#fit()
  }

  /** Takes in a control call that has ended; calls come in order of their ends. */
  learn(row: Float64Array, figure: number, nowMs: number): void {
    if (this.#isFitted) {
      const residual = this.residual(row, figure)
      this.#stretch(residual, nowMs)
      this.#follow(residual + this.#blockLevel, nowMs)
    }
    const keep = 1 - FORGET_PER_CALL
    for (let a = 0; a < this.#width; a++) {
      const value = row[a] as number
      this.#moment[a] = (this.#moment[a] as number) * keep + value * figure
      for (let b = 0; b <= a; b++) {
        const at = a * this.#width + b
        this.#normal[at] = (this.#normal[at] as number) * keep + value * (row[b] as number)
      }
    }
    this.#learned++
  }

  /** What a mean over stretch `index` has to exceed to be more than a stray: `deviations` of them, and well more than the worst that control itself did. */
  bound(index: number, deviations: number): number {
    const one = this.#running[index] as Running
    return doubtOf(one.known) * Math.max(deviations * Math.sqrt(one.squares), 1.3 * one.most + this.#spare)
  }

  strayOf(index: number): number {
    return Math.sqrt((this.#running[index] as Running).squares)
  }

  #follow(residual: number, nowMs: number): void {
    const passedMs = Number.isNaN(this.#levelMs) ? 0 : Math.min(GAP_MS, Math.max(0, nowMs - this.#levelMs))
    this.#levelMs = nowMs
    this.#level += (1 - Math.exp(-passedMs / LEVEL_MEMORY_MS)) * (residual - this.#level)
  }

  #fit(): void {
    const lower = this.#normal.slice()
    const weight = this.#normal[0] as number
    for (let a = 0; a < this.#width; a++) lower[a * this.#width + a] = (lower[a * this.#width + a] as number) + RIDGE * weight
    this.#beta = solveSymmetric(lower, this.#moment.slice())
  }

  #stretch(residual: number, nowMs: number): void {
    this.#running.forEach((one, i) => {
      if (nowMs - one.lastMs > GAP_MS) one.calls = 0
      if (one.calls === 0) {
        one.startMs = nowMs
        one.sum = 0
      }
      one.lastMs = nowMs
      one.sum += residual
      one.calls++
      const { spanMs, calls } = STRETCHES[i] as Stretch
      if (nowMs - one.startMs < spanMs || one.calls < calls) return
      const mean = one.sum / one.calls
      const share = Math.max(FORGET_PER_STRETCH, 1 / ++one.known)
      one.squares += share * (mean * mean - one.squares)
      one.most = Math.max(one.most * (1 - FORGET_PER_STRETCH), mean)
      one.calls = 0
    })
  }
}

/** By how much a stray from so few stretches may be larger than it looks, over what it may from STRETCHES_KNOWN. */
function doubtOf(stretches: number): number {
  if (stretches >= STRETCHES_KNOWN) return 1
  return upperSpread(stretches) / upperSpread(STRETCHES_KNOWN)
}

/** Upper 95 % confidence limit of a standard deviation over its estimate: √(n ÷ χ²₀.₀₅(n)), the quantile by Wilson and Hilferty (1931). */
function upperSpread(n: number): number {
  const unit = 2 / (9 * n)
  return (1 - unit - 1.645 * Math.sqrt(unit)) ** -1.5
}
