import type { LengthPredictor } from './length-predictor.ts'

/** Answers before a mean says anything; chosen: the error of a mean of five log-normal lengths is under half of its value. */
const LEAST_ANSWERS = 5
/** An answer weighs 1/50 once that many came: the mean follows a changed application within some hundred calls. Chosen. */
const SMOOTHING_ANSWERS = 50
/** Applications remembered; the least recently used goes first. Bounds memory at about 1 MB. */
const KEYS_MAX = 10_000

interface Running {
  count: number
  meanTokens: number
}

/**
 * The running mean of output lengths per pool and application, and per pool where an application is new: the baseline that every
 * learned predictor has to beat.
 */
export function createRunningLength(): LengthPredictor {
  const means = new Map<string, Running>()
  return {
    predict(pool, call) {
      const own = means.get(`${pool}\n${call.caller.application}`)
      const known = own && own.count >= LEAST_ANSWERS ? own : means.get(pool)
      return { outputTokens: known && known.count >= LEAST_ANSWERS ? known.meanTokens : Number.NaN, version: 'running-mean' }
    },
    learn(pool, call, { outputTokens, censored }) {
      if (censored || !(outputTokens >= 0)) return
      add(means, pool, outputTokens)
      add(means, `${pool}\n${call.caller.application}`, outputTokens)
    },
  }
}

function add(means: Map<string, Running>, key: string, outputTokens: number): void {
  const running = means.get(key) ?? { count: 0, meanTokens: 0 }
  running.count++
  running.meanTokens += (outputTokens - running.meanTokens) / Math.min(running.count, SMOOTHING_ANSWERS)
  // Order matters only near the bound; and a map that is reordered at every call leaves its dead tables to the garbage collector.
  if (means.size > KEYS_MAX / 2) means.delete(key)
  means.set(key, running)
  if (means.size > KEYS_MAX) means.delete(means.keys().next().value as string)
}
