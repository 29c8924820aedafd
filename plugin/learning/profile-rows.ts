import { asTwinCalls, type ServedCall } from '../simulation/log-replay/traffic.ts'
import type { EngineCalls } from './play-engine.ts'

/** A served call as profiles are fitted to it. */
export interface ProfileCall extends ServedCall {
  /** From arrival to dispatch, ms; 0 where it was not logged. */
  readonly placedMs?: number
}

/** One instance's calls beside what was logged of them. */
export interface InstanceLog {
  readonly calls: EngineCalls
  /** As logged, from dispatch on, ms; NaN where it does not count. */
  readonly ttftMs: Float64Array
  readonly e2eMs: Float64Array
  /** Calls that may be judged: completed, plausible, and not of the first ones, which met a fleet whose past is not played. */
  readonly judged: Uint8Array
  readonly judgedCount: number
  /** Rows that were left out, by reason. */
  readonly dropped: Readonly<Record<string, number>>
}

/** A latency beyond an hour, or a call beyond a million tokens, is a fault of the log. */
const LATENCY_MAX_MS = 3_600_000
const TOKENS_MAX = 1_000_000
/** Calls played before any is judged, in the share of all and at most. */
const WARM_UP_RATIO = 0.05
const WARM_UP_MAX = 300
/**
 * A call this much faster per token than four of five others has a false length: no step is so short. One this much slower than its neighbours in the same
 * engine, whose steps it shares, has false times, even if it was preempted.
 */
const FASTER = 4
const SLOWER = 30
/** Shorter answers have no pace worth the name. */
const PACE_TOKENS = 16
const PACE_NEIGHBOURS = 15

/** Sorts the served calls of each instance into what an engine can be fitted to; impossible rows are dropped and counted. */
export function instanceLogs(calls: readonly ProfileCall[]): Map<string, InstanceLog> {
  const byInstance = Map.groupBy(calls, (call) => call.instance ?? '')
  byInstance.delete('')
  return new Map([...byInstance].map(([name, own]) => [name, instanceLog(own)]))
}

function instanceLog(given: readonly ProfileCall[]): InstanceLog {
  const dropped: Record<string, number> = {}
  const drop = (reason: string): void => {
    dropped[reason] = (dropped[reason] ?? 0) + 1
  }
  const kept = plausible(given, drop)
  const startUnixMs = kept[0]?.arrivedUnixMs ?? 0
  const twin = asTwinCalls(kept, startUnixMs)
  const outputs = believedOutputs(kept, drop)
  const count = kept.length
  const warmUp = Math.min(WARM_UP_MAX, Math.floor(WARM_UP_RATIO * count))
  const log = {
    ttftMs: new Float64Array(count).fill(Number.NaN),
    e2eMs: new Float64Array(count).fill(Number.NaN),
    judged: new Uint8Array(count),
  }
  let judgedCount = 0
  kept.forEach((call, i) => {
    const placedMs = call.placedMs ?? 0
    if (call.ttftMs !== null) log.ttftMs[i] = call.ttftMs - placedMs
    log.e2eMs[i] = call.e2eMs - placedMs
    if (call.outcome !== 'completed' || call.outputTokens === null || i < warmUp || outputs.isDoubtful[i]) return
    log.judged[i] = 1
    judgedCount++
  })
  const whole = {
    ...log,
    judgedCount,
    dropped,
    calls: {
      dispatchedMs: Float64Array.from(kept, (call) => call.arrivedUnixMs - startUnixMs + (call.placedMs ?? 0)),
      promptTokens: Int32Array.from(twin, (call) => call.promptTokens),
      outputTokens: outputs.tokens,
      leftAfterMs: Float64Array.from(kept, (call) => (call.outcome === 'client gone' ? call.e2eMs - (call.placedMs ?? 0) : Number.NaN)),
      blockHashes: twin.map((call) => call.blockHashes),
    },
  }
  return partOf(whole, 0, count)
}

/** In order of dispatch, without what cannot have happened and without rows that stand there twice. */
function plausible(given: readonly ProfileCall[], drop: (reason: string) => void): ProfileCall[] {
  const dispatchedMs = (call: ProfileCall): number => call.arrivedUnixMs + (call.placedMs ?? 0)
  const seen = new Set<string>()
  return given
    .filter((call) => {
      const reason = faultOf(call)
      if (reason) drop(reason)
      if (reason) return false
      const key = `${call.arrivedUnixMs} ${call.promptTokens} ${call.outputTokens} ${call.e2eMs}`
      if (seen.has(key)) drop('written twice')
      if (seen.has(key)) return false
      seen.add(key)
      return true
    })
    .sort((a, b) => dispatchedMs(a) - dispatchedMs(b))
}

function faultOf({ promptTokens, outputTokens, ttftMs, e2eMs, outcome }: ProfileCall): string | undefined {
  // What an instance failed was not served: another one had the work, if any did.
  if (outcome !== 'completed' && outcome !== 'client gone') return 'not served'
  if (!(e2eMs >= 0 && e2eMs <= LATENCY_MAX_MS)) return 'impossible latency'
  if (ttftMs !== null && !(ttftMs >= 0 && ttftMs <= e2eMs + 1)) return 'impossible latency'
  if (!(promptTokens >= 0 && promptTokens <= TOKENS_MAX)) return 'impossible length'
  if (outputTokens !== null && !(outputTokens >= 0 && outputTokens <= TOKENS_MAX)) return 'impossible length'
  return undefined
}

/**
 * Output lengths to be played: where one is false, the one that its times tell at the neighbours' pace. Calls with a false length or false times are not
 * judged.
 */
function believedOutputs(calls: readonly ProfileCall[], drop: (reason: string) => void): { tokens: Int32Array; isDoubtful: Uint8Array } {
  const pace = calls.map(({ ttftMs, e2eMs, outputTokens, outcome }) =>
    outcome === 'completed' && ttftMs !== null && outputTokens !== null && outputTokens >= PACE_TOKENS
      ? (e2eMs - ttftMs) / (outputTokens - 1)
      : Number.NaN,
  )
  const isDoubtful = new Uint8Array(calls.length)
  const fastest = quantileOf(pace, 0.2) / FASTER
  let usual = quantileOf(pace, 0.5)
  const tokens = Int32Array.from(calls, (call, i) => {
    const own = pace[i] as number
    const given = Math.max(1, Math.round(call.outputTokens ?? call.predictedOutputTokens ?? 1))
    if (i % PACE_NEIGHBOURS === 0) usual = quantileOf(pace.slice(Math.max(0, i - PACE_NEIGHBOURS), i + PACE_NEIGHBOURS), 0.5) || usual
    if (Number.isNaN(own) || !(usual > 0) || (own > fastest && own < usual * SLOWER)) return given
    isDoubtful[i] = 1
    drop('pace unlike its neighbours')
    return own > usual ? given : Math.max(1, Math.round((call.e2eMs - (call.ttftMs ?? 0)) / usual) + 1)
  })
  return { tokens, isDoubtful }
}

function quantileOf(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values.filter((value) => !Number.isNaN(value))).sort()
  return sorted[Math.floor(share * sorted.length)] ?? Number.NaN
}

function endOf({ calls, e2eMs }: Pick<InstanceLog, 'calls' | 'e2eMs'>, i: number): number {
  return (calls.dispatchedMs[i] as number) + (e2eMs[i] as number)
}

/** Calls `from` to `to` (excluded) of a log; those that ended later than the last of them came are not judged. */
export function partOf(log: InstanceLog, from: number, to: number): InstanceLog {
  const judged = log.judged.slice(from, to)
  // Who was still under way when the part ends would be played without those that came after and slowed them.
  const endMs = log.calls.dispatchedMs[Math.min(to, log.judged.length) - 1] as number
  for (let i = 0; i < judged.length; i++) if (!(endOf(log, from + i) <= endMs)) judged[i] = 0
  return {
    ...log,
    ttftMs: log.ttftMs.subarray(from, to),
    e2eMs: log.e2eMs.subarray(from, to),
    judged,
    judgedCount: judged.reduce((sum, one) => sum + one, 0),
    calls: {
      dispatchedMs: log.calls.dispatchedMs.subarray(from, to),
      promptTokens: log.calls.promptTokens.subarray(from, to),
      outputTokens: log.calls.outputTokens.subarray(from, to),
      leftAfterMs: log.calls.leftAfterMs.subarray(from, to),
      blockHashes: log.calls.blockHashes.slice(from, to),
    },
  }
}
