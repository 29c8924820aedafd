import type { Call } from '../call/call.ts'
import { Adaptation, TERMS, writeTerms } from './adaptation.ts'
import { answerSpan, BUCKETS, type Cumulative, LengthDistribution, lnAt, moved, POSITIONS_PER_LN } from './distribution.ts'
import { Experts, mix } from './experts.ts'
import { RecentlyUsed, RotatingHistogram } from './history.ts'
import { type BasePrediction, type LengthModel, relevel } from './length-model.ts'
import { Levels } from './levels.ts'

/** Applications (per pool, model and task) remembered: about 3 kB each. */
export const APPLICATIONS_MAX = 2_000
/** System prompts and pools remembered: about 0.5 kB each. */
export const HISTOGRAMS_MAX = 10_000
/** Answers before a histogram alone says anything; the error of a mean of five log-normal lengths is under half of its value. */
const LEAST_ANSWERS = 5

/** Who answers whom, as far as lengths are concerned. */
export interface LengthKey {
  readonly pool: string
  readonly model: string
  readonly application: string
  readonly task?: string
  readonly systemHash: number
}

/**
 * The forecasters that are mixed: the corrected model; the shape of the application's own residuals around the corrected mean; the application's
 * histogram; the system prompt's. Trusted first in this order.
 */
const EXPERTS_START = [0, -1, -3, -3] as const
/** Residuals stand in a histogram of the same width around its middle. */
const MIDDLE = BUCKETS / 2

class ApplicationHistory {
  readonly histogram = new RotatingHistogram()
  readonly residuals = new RotatingHistogram()
  readonly adaptation = new Adaptation()
  readonly experts = new Experts(EXPERTS_START)
  readonly levels = new Levels()
}

/** A prediction with what is needed to learn from its answer. */
export interface Forecast {
  readonly distribution: LengthDistribution
  readonly base: BasePrediction
  readonly terms: Float64Array
  readonly shiftLn: number
  readonly present: readonly (Cumulative | undefined)[]
  /** Before the application's own probability levels. */
  readonly plain: Cumulative
}

/** Everything answers have taught since the model was trained: bounded, snapshotted, rebuilt from the log. */
export class LengthHistory {
  readonly #applications = new RecentlyUsed<ApplicationHistory>(APPLICATIONS_MAX)
  readonly #histograms = new RecentlyUsed<RotatingHistogram>(HISTOGRAMS_MAX)

  /** Entries forgotten for room. */
  get dropped(): number {
    return this.#applications.dropped + this.#histograms.dropped
  }

  /** The model's prediction in the light of the application's answers. */
  forecast(key: LengthKey, base: BasePrediction, parts: { readonly model: LengthModel; readonly row: Float32Array }): Forecast {
    const own = this.#applications.peek(applicationKey(key))
    const terms = new Float64Array(TERMS)
    writeTerms({ row: parts.row, mean: parts.model.mean, spread: parts.model.spread, meanLn: base.meanLn }, terms)
    const shiftLn = own ? own.adaptation.shift(terms) : 0
    const corrected = own ? correct(base, shiftLn, own.adaptation.scale) : base.cumulative
    const system = key.systemHash === 0 ? undefined : this.#histograms.peek(systemKey(key))
    const centre = positionOfLn(base.meanLn + shiftLn)
    const present = [
      corrected,
      own && around(own.residuals, corrected, centre),
      own?.histogram.cumulative(corrected),
      system?.cumulative(corrected),
    ]
    const weights = own ? own.experts.weights(present) : new Experts(EXPERTS_START).weights(present)
    const plain = mix(present, weights)
    const distribution = new LengthDistribution(own ? relevel(Float64Array.from(plain), own.levels.knots()) : plain)
    return { distribution, base, terms, shiftLn, present, plain }
  }

  /** What histograms alone know, where no model can be asked. */
  alone(key: LengthKey): { readonly from: 'application' | 'pool'; readonly distribution: LengthDistribution } | undefined {
    const own = this.#applications.peek(applicationKey(key))?.histogram
    if (own && own.count >= LEAST_ANSWERS) return { from: 'application', distribution: new LengthDistribution(own.cumulative()) }
    const pool = this.#histograms.peek(poolKey(key))
    if (pool && pool.count >= LEAST_ANSWERS) return { from: 'pool', distribution: new LengthDistribution(pool.cumulative()) }
    return undefined
  }

  /** An answer came, whole or cut; `forecast` is what was said of it, where a model said anything. */
  learn(key: LengthKey, answer: { readonly outputTokens: number; readonly censored: boolean }, forecast?: Forecast): void {
    const { outputTokens, censored } = answer
    const own = this.#applications.use(applicationKey(key), () => new ApplicationHistory())
    const pool = this.#histograms.use(poolKey(key), () => new RotatingHistogram())
    const system = key.systemHash === 0 ? [] : [this.#histograms.use(systemKey(key), () => new RotatingHistogram())]
    for (const histogram of [own.histogram, pool, ...system]) {
      if (censored) histogram.addCut(outputTokens, forecast?.distribution ?? new LengthDistribution(histogram.cumulative()))
      else histogram.add(outputTokens)
    }
    if (censored || !forecast) return
    const residualLn = Math.log(Math.max(1, outputTokens)) - forecast.base.meanLn
    const spreadLn = new LengthDistribution(forecast.base.cumulative).spreadLn
    const { low, high } = answerSpan(outputTokens)
    const offset = MIDDLE - positionOfLn(forecast.base.meanLn + forecast.shiftLn)
    own.residuals.addSpan({ low: clamped(low + offset), high: clamped(high + offset) + 1e-6 })
    own.experts.learn(forecast.present, outputTokens)
    own.levels.learn(forecast.plain, outputTokens)
    own.adaptation.learn(forecast.terms, { residualLn, leftLn: residualLn - forecast.shiftLn, spreadLn })
  }

  /** Its state as JSON-able data. */
  snapshot(): LengthSnapshot {
    return {
      applications: [...this.#applications.entries()].map(([key, own]) => ({
        key,
        histogram: own.histogram.snapshot(),
        residuals: own.residuals.snapshot(),
        adaptation: own.adaptation.snapshot(),
        experts: own.experts.snapshot(),
        levels: own.levels.snapshot(),
      })),
      histograms: [...this.#histograms.entries()].map(([key, histogram]) => ({ key, histogram: histogram.snapshot() })),
    }
  }

  /** Takes over a snapshot. */
  restore({ applications, histograms }: LengthSnapshot): void {
    for (const { key, histogram, residuals, adaptation, experts, levels } of applications) {
      const own = this.#applications.use(key, () => new ApplicationHistory())
      own.histogram.restore(histogram)
      own.residuals.restore(residuals)
      own.adaptation.restore(adaptation)
      own.experts.restore(experts)
      own.levels.restore(levels)
    }
    for (const { key, histogram } of histograms) this.#histograms.use(key, () => new RotatingHistogram()).restore(histogram)
  }
}

export interface LengthSnapshot {
  readonly applications: readonly {
    readonly key: string
    readonly histogram: readonly number[]
    readonly residuals: readonly number[]
    readonly adaptation: readonly number[]
    readonly experts: readonly number[]
    readonly levels: readonly number[]
  }[]
  readonly histograms: readonly { readonly key: string; readonly histogram: readonly number[] }[]
}

/** Keys of a call's histories. */
export function lengthKeyOf(pool: string, { model, caller, request }: Pick<Call, 'model' | 'caller' | 'request'>): LengthKey {
  const { application, task } = caller
  return { pool, model, application, systemHash: request.systemHash, ...(task === undefined ? {} : { task }) }
}

function correct(base: BasePrediction, shiftLn: number, scale: number): Cumulative {
  return moved(base.cumulative, { shift: shiftLn * POSITIONS_PER_LN, scale, centre: positionOfLn(base.meanLn) })
}

/** The application's residuals placed around `centre`, blended with the corrected model. */
function around(residuals: RotatingHistogram, corrected: Cumulative, centre: number): Cumulative {
  const prior = moved(corrected, { shift: MIDDLE - centre })
  return moved(residuals.cumulative(prior), { shift: centre - MIDDLE })
}

const positionOfLn = (ln: number): number => (ln - lnAt(0)) * POSITIONS_PER_LN
const clamped = (position: number): number => Math.min(BUCKETS - 1e-3, Math.max(0, position))

const applicationKey = ({ pool, model, application, task = '' }: LengthKey): string => `${pool}\n${model}\n${application}\n${task}`
const systemKey = ({ pool, model, systemHash }: LengthKey): string => `s${pool}\n${model}\n${systemHash}`
const poolKey = ({ pool, model }: LengthKey): string => `p${pool}\n${model}`
