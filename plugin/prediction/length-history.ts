import type { Call } from '../call/call.ts'
import { freshDoubles } from '../call/cells.ts'
import { ADAPTATION_NUMBERS, Adaptation, TERMS, writeTerms } from './adaptation.ts'
import { answerSpan, BUCKETS, type Cumulative, LengthDistribution, lnAt, moved, POSITIONS_PER_LN } from './distribution.ts'
import { Experts, mix } from './experts.ts'
import { HISTOGRAM_NUMBERS, RecentlyUsed, RotatingHistogram } from './history.ts'
import { type BasePrediction, type LengthModel, relevel } from './length-model.ts'
import { LEVEL_NUMBERS, Levels } from './levels.ts'

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
  residuals = new RotatingHistogram()
  adaptation = new Adaptation()
  experts = new Experts(EXPERTS_START)
  levels = new Levels()

  /** Forgets how far off the model was: another one errs differently. */
  forgetErrors(): void {
    this.residuals = new RotatingHistogram()
    this.adaptation = new Adaptation()
    this.experts = new Experts(EXPERTS_START)
    this.levels = new Levels()
  }

  save(out: Float32Array, at: number): void {
    this.#parts().reduce((from, { part, size }) => {
      part.save(out, from)
      return from + size
    }, at)
  }

  restore(saved: Float32Array, at: number): void {
    this.#parts().reduce((from, { part, size }) => {
      part.restore(saved, from)
      return from + size
    }, at)
  }

  #parts() {
    return [
      { part: this.histogram, size: HISTOGRAM_NUMBERS },
      { part: this.residuals, size: HISTOGRAM_NUMBERS },
      { part: this.adaptation, size: ADAPTATION_NUMBERS },
      { part: this.experts, size: EXPERTS_START.length },
      { part: this.levels, size: LEVEL_NUMBERS },
    ] as const
  }
}

const APPLICATION_NUMBERS = 2 * HISTOGRAM_NUMBERS + ADAPTATION_NUMBERS + EXPERTS_START.length + LEVEL_NUMBERS

/** What a forecast is made in. Used again once its answer came: fresh memory for each call would never be in the processor's caches. */
class Workspace {
  owner: Forecast | undefined
  readonly terms = new Float64Array(TERMS)
  readonly corrected = new Float64Array(BUCKETS + 1)
  readonly around = new Float64Array(BUCKETS + 1)
  readonly own = new Float64Array(BUCKETS + 1)
  readonly system = new Float64Array(BUCKETS + 1)
  readonly plain = new Float64Array(BUCKETS + 1)
}

/** Workspaces kept for the next calls, 2 kB each: beyond as many calls under way the engine collects them. Chosen. */
const SPARE_MAX = 64

/** Distributions on the way to another. */
const [priorOf, smoothed] = [new Float64Array(BUCKETS + 1), new Float64Array(BUCKETS + 1)]

/** A prediction with what is needed to learn from its answer, once: all but `distribution` and numbers is written over by later calls then. */
export interface Forecast {
  readonly distribution: LengthDistribution
  readonly base: BasePrediction
  readonly terms: Float64Array
  readonly shiftLn: number
  readonly present: readonly (Cumulative | undefined)[]
  /** Before the application's own probability levels. */
  readonly plain: Cumulative
  readonly names: Names
  readonly workspace: Workspace
}

/** Under which names a call's histories stand; made once, when it is predicted. */
interface Names {
  readonly application: string
  readonly pool: string
  /** Undefined without a system prompt. */
  readonly system: string | undefined
}

/** Everything answers have taught since the model was trained: bounded, snapshotted, rebuilt from the log. */
export class LengthHistory {
  readonly #applications = new RecentlyUsed<ApplicationHistory>(APPLICATIONS_MAX)
  readonly #histograms = new RecentlyUsed<RotatingHistogram>(HISTOGRAMS_MAX)
  readonly #spare: Workspace[] = []

  /** Entries forgotten for room. */
  get dropped(): number {
    return this.#applications.dropped + this.#histograms.dropped
  }

  /** The model's prediction in the light of the application's answers. */
  forecast(key: LengthKey, base: BasePrediction, parts: { readonly model: LengthModel; readonly row: Float32Array }): Forecast {
    const names = namesOf(key)
    const own = this.#applications.peek(names.application)
    const workspace = this.#spare.pop() ?? new Workspace()
    const { terms } = workspace
    writeTerms({ row: parts.row, mean: parts.model.mean, spread: parts.model.spread, meanLn: base.meanLn }, terms)
    const shiftLn = own ? own.adaptation.shift(terms) : 0
    const corrected = own ? correct(base, { shiftLn, scale: own.adaptation.scale }, workspace.corrected) : base.cumulative
    const system = names.system === undefined ? undefined : this.#histograms.peek(names.system)
    const centre = positionOfLn(base.meanLn + shiftLn)
    const present = [
      corrected,
      own && around(own.residuals, { corrected, centre }, workspace.around),
      own?.histogram.cumulative(corrected, workspace.own),
      system?.cumulative(corrected, workspace.system),
    ]
    const weights = own ? own.experts.weights(present) : new Experts(EXPERTS_START).weights(present)
    const plain = mix(present, weights, workspace.plain)
    const knots = own?.levels.knots()
    const distribution = new LengthDistribution(knots ? relevel(copied(plain), knots) : copied(plain))
    const forecast = { distribution, base, terms, shiftLn, present, plain, names, workspace }
    workspace.owner = forecast
    return forecast
  }

  /** What histograms alone know, where no model can be asked. */
  alone(key: LengthKey): { readonly from: 'application' | 'pool'; readonly distribution: LengthDistribution } | undefined {
    const names = namesOf(key)
    const own = this.#applications.peek(names.application)?.histogram
    if (own && own.count >= LEAST_ANSWERS) return { from: 'application', distribution: new LengthDistribution(own.cumulative()) }
    const pool = this.#histograms.peek(names.pool)
    if (pool && pool.count >= LEAST_ANSWERS) return { from: 'pool', distribution: new LengthDistribution(pool.cumulative()) }
    return undefined
  }

  /** An answer came, whole or cut; `forecast` is what was said of it, where a model said anything. */
  learn(key: LengthKey, answer: { readonly outputTokens: number; readonly censored: boolean }, forecast?: Forecast): void {
    const { outputTokens, censored } = answer
    const names = forecast?.names ?? namesOf(key)
    const own = this.#applications.use(names.application, () => new ApplicationHistory())
    const pool = this.#histograms.use(names.pool, () => new RotatingHistogram())
    const system = names.system === undefined ? [] : [this.#histograms.use(names.system, () => new RotatingHistogram())]
    for (const histogram of [own.histogram, pool, ...system]) {
      if (censored) histogram.addCut(outputTokens, forecast?.distribution ?? new LengthDistribution(histogram.cumulative()))
      else histogram.add(outputTokens)
    }
    if (!forecast) return
    if (!censored && forecast.workspace.owner === forecast) this.#learnErrors(own, forecast, outputTokens)
    this.#giveBack(forecast)
  }

  #learnErrors(own: ApplicationHistory, forecast: Forecast, outputTokens: number): void {
    const residualLn = Math.log(Math.max(1, outputTokens)) - forecast.base.meanLn
    const spreadLn = new LengthDistribution(forecast.base.cumulative).spreadLn
    const { low, high } = answerSpan(outputTokens)
    const offset = MIDDLE - positionOfLn(forecast.base.meanLn + forecast.shiftLn)
    own.residuals.addSpan({ low: clamped(low + offset), high: clamped(high + offset) + 1e-6 })
    own.experts.learn(forecast.present, outputTokens)
    own.levels.learn(forecast.plain, outputTokens)
    own.adaptation.learn(forecast.terms, { residualLn, leftLn: residualLn - forecast.shiftLn, spreadLn })
  }

  #giveBack(forecast: Forecast): void {
    const { workspace } = forecast
    if (workspace.owner !== forecast) return
    workspace.owner = undefined
    if (this.#spare.length < SPARE_MAX) this.#spare.push(workspace)
  }

  /** Keeps what answers were, forgets how far off the model was. */
  forgetErrors(): void {
    for (const [, own] of this.#applications.entries()) own.forgetErrors()
  }

  /** Its state: what it is of, least recently used first, and all numbers in that order. A few ms at the bounds. */
  save(): SavedHistory {
    const applications = [...this.#applications.entries()]
    const histograms = [...this.#histograms.entries()]
    const numbers = new Float32Array(applications.length * APPLICATION_NUMBERS + histograms.length * HISTOGRAM_NUMBERS)
    for (const [i, [, own]] of applications.entries()) own.save(numbers, i * APPLICATION_NUMBERS)
    const from = applications.length * APPLICATION_NUMBERS
    for (const [i, [, own]] of histograms.entries()) own.save(numbers, from + i * HISTOGRAM_NUMBERS)
    return { applications: applications.map(([key]) => key), histograms: histograms.map(([key]) => key), numbers }
  }

  /** Takes over what was saved. Throws where it does not fit together. */
  restore({ applications, histograms, numbers }: SavedHistory): void {
    const from = applications.length * APPLICATION_NUMBERS
    const size = from + histograms.length * HISTOGRAM_NUMBERS
    if (numbers.length !== size || !numbers.every(Number.isFinite))
      throw new Error(
        `a saved history of ${applications.length} + ${histograms.length} entries holds ${numbers.length} numbers, not ${size} finite ones`,
      )
    for (const [i, key] of applications.entries())
      this.#applications.use(key, () => new ApplicationHistory()).restore(numbers, i * APPLICATION_NUMBERS)
    for (const [i, key] of histograms.entries())
      this.#histograms.use(key, () => new RotatingHistogram()).restore(numbers, from + i * HISTOGRAM_NUMBERS)
  }
}

export interface SavedHistory {
  readonly applications: readonly string[]
  readonly histograms: readonly string[]
  readonly numbers: Float32Array
}

/** Keys of a call's histories. */
export function lengthKeyOf(pool: string, { model, caller, request }: Pick<Call, 'model' | 'caller' | 'request'>): LengthKey {
  const { application, task } = caller
  return { pool, model, application, systemHash: request.systemHash, ...(task === undefined ? {} : { task }) }
}

function correct(base: BasePrediction, by: { readonly shiftLn: number; readonly scale: number }, out: Cumulative): Cumulative {
  return moved(base.cumulative, { shift: by.shiftLn * POSITIONS_PER_LN, scale: by.scale, centre: positionOfLn(base.meanLn) }, out)
}

/** The application's residuals placed around `centre`, blended with the corrected model. */
function around(
  residuals: RotatingHistogram,
  { corrected, centre }: { readonly corrected: Cumulative; readonly centre: number },
  out: Cumulative,
): Cumulative {
  const prior = moved(corrected, { shift: MIDDLE - centre }, priorOf)
  return moved(residuals.cumulative(prior, smoothed), { shift: centre - MIDDLE }, out)
}

function copied(cumulative: Cumulative): Cumulative {
  const out = freshDoubles(cumulative.length)
  out.set(cumulative)
  return out
}

const positionOfLn = (ln: number): number => (ln - lnAt(0)) * POSITIONS_PER_LN
const clamped = (position: number): number => Math.min(BUCKETS - 1e-3, Math.max(0, position))

function namesOf({ pool, model, application, task = '', systemHash }: LengthKey): Names {
  return {
    application: `${pool}\n${model}\n${application}\n${task}`,
    pool: `p${pool}\n${model}`,
    system: systemHash === 0 ? undefined : `s${pool}\n${model}\n${systemHash}`,
  }
}
