import { NOT_PROMOTED } from '../log/control/verdict-words.ts'
import type { Gain } from './evaluate-intervals.ts'
import { percent } from './percent.ts'

/** A part of the traffic by itself. */
export interface SliceGain {
  /** 'application', 'tenant', 'output' (its bucket of tokens) or 'pool', and which. */
  readonly slice: string
  readonly calls: number
  readonly gain: Gain
}

/** All that is known of a challenger before it may serve. Plain JSON. */
export interface Evidence {
  /** What serves now, in words. */
  readonly serving: string
  /** How a gain is said; see figure.ts. */
  readonly gainWords: string
  readonly heldOutCalls: number
  readonly instances: number
  readonly gain: Gain
  readonly gainVsLeastRequest: Gain
  /** Challenger's TTFT p99 over that of what serves, and over least-request's. */
  readonly ttftP99Ratio: number
  readonly ttftP99VsLeastRequest: number
  readonly slices: readonly SliceGain[]
  /** Largest share of the calls that one instance gets, and the same under what serves. */
  readonly largestShare: number
  readonly servingShare: number
  /** Calls without an answer, challenger's less what serves'. */
  readonly lostMore: number
  /** The twin's mean E2E under the placements that were made over the logged one, − 1; NaN where it is not known. */
  readonly twinError: number
}

/** One demand of the gate. */
export interface Check {
  readonly name: 'calls' | 'twin' | 'gain' | 'least-request' | 'TTFT p99' | 'slices' | 'shares' | 'lost'
  readonly passed: boolean
  readonly words: string
}

export interface GateVerdict {
  readonly passed: boolean
  readonly words: string
  readonly checks: readonly Check[]
}

/** Fewer held-out calls say nothing. */
export const HELD_OUT_LEAST = 200
/** A twin further off than this promises nothing. */
const TWIN_ERROR_MOST = 0.3
/** Against the better one of what serves and least-request: the tail may pay a little for the mean, never more. */
const TTFT_P99_MOST = 1.2
/** No slice may be worse by more than this; smaller slices are noise. */
const SLICE_LOSS_MOST = 0.05
export const SLICE_CALLS_LEAST = 100
/** A share is insane where nearly all goes to one instance that does not get it now. */
const SHARE_MOST = 0.95
const SHARE_MORE = 0.35
const LOST_MOST = 0.001

/**
 * May the challenger serve? The lower end of its gain over what serves has to be above 0 and that over least-request not below; tail, slices, shares and
 * answers must not pay for it.
 */
export function decide(evidence: Evidence): GateVerdict {
  const checks = checksOf(evidence)
  const failed = checks.filter((check) => !check.passed)
  const [value, low, high] = evidence.gain
  const better = `${percent(value)} ${evidence.gainWords} than ${evidence.serving} (95 % interval ${percent(low)} to ${percent(high)}) on ${evidence.heldOutCalls} later calls played in the twin`
  return {
    passed: failed.length === 0,
    words: failed.length === 0 ? better : `${NOT_PROMOTED}${failed.map((check) => check.words).join('; ')}`,
    checks,
  }
}

function checksOf(evidence: Evidence): Check[] {
  const { serving, heldOutCalls, instances, gain, gainVsLeastRequest, twinError, largestShare, servingShare, lostMore } = evidence
  const worst = worstSlice(evidence.slices)
  const tail = Math.min(evidence.ttftP99Ratio, evidence.ttftP99VsLeastRequest)
  const insane = instances > 1 && largestShare > SHARE_MOST && largestShare - servingShare > SHARE_MORE
  return [
    check('calls', heldOutCalls >= HELD_OUT_LEAST, `${heldOutCalls} held-out calls, at least ${HELD_OUT_LEAST} are needed`),
    check(
      'twin',
      Number.isNaN(twinError) || Math.abs(twinError) <= TWIN_ERROR_MOST,
      `the twin is off by ${percent(twinError)} on calls that were served, at most ${percent(TWIN_ERROR_MOST)} lets it promise anything`,
    ),
    check('gain', gain[1] > 0, `gain over ${serving} ${interval(gain)}, its lower end has to be above 0`),
    check(
      'least-request',
      gainVsLeastRequest[1] >= 0,
      `gain over least-request ${interval(gainVsLeastRequest)}, its lower end must not be below 0`,
    ),
    check(
      'TTFT p99',
      tail <= TTFT_P99_MOST,
      `TTFT p99 is ${evidence.ttftP99Ratio.toFixed(2)} times that of ${serving} and ${evidence.ttftP99VsLeastRequest.toFixed(2)} times least-request's, at most ${TTFT_P99_MOST} times the larger one is allowed`,
    ),
    check(
      'slices',
      !worst || !isWorse(worst),
      worst
        ? `worst slice: ${worst.slice}, ${worst.calls} calls, gain ${interval(worst.gain)}; a loss above ${percent(SLICE_LOSS_MOST)} is too much`
        : 'no slice is large enough to be judged',
    ),
    check('shares', !insane, `one instance gets ${percent(largestShare)} of the calls, ${percent(servingShare)} now`),
    check('lost', lostMore <= LOST_MOST * heldOutCalls, `${lostMore.toFixed(1)} more calls go without an answer`),
  ]
}

const check = (name: Check['name'], passed: boolean, words: string): Check => ({ name, passed, words })

/** Worse by more than what is allowed, and not by chance: its interval lies below 0. */
const isWorse = ({ gain }: SliceGain): boolean => gain[0] < -SLICE_LOSS_MOST && gain[2] < 0

function worstSlice(slices: readonly SliceGain[]): SliceGain | undefined {
  const judged = slices.filter(({ calls }) => calls >= SLICE_CALLS_LEAST)
  const bad = judged.filter(isWorse)
  return (bad.length > 0 ? bad : judged).reduce<SliceGain | undefined>(
    (worst, one) => (worst && worst.gain[0] <= one.gain[0] ? worst : one),
    undefined,
  )
}

const interval = ([value, low, high]: Gain): string => `${percent(value)} (95 % interval ${percent(low)} to ${percent(high)})`
