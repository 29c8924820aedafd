import { createTwinPolicy } from '../placement/policies.ts'
import { createRng } from '../rng.ts'
import { Simulation } from './fleet/simulation.ts'
import { sealOutput } from './fleet/truth.ts'
import { callerOf, describeCall, streamOf } from './fleet/twin-call.ts'
import type { Profile } from './profiles.ts'
import type { RecordedCall, RecordedRun } from './recorded-run.ts'
import { percentile } from './scenario/score.ts'

/** What is compared, per call. TPOT is over the tokens after the first, of calls that have any. */
export type Latency = 'ttft' | 'tpot' | 'e2e'

/** One latency of the twin against the real run: ratio minus 1. */
export interface LatencyError {
  readonly latency: Latency
  readonly realMeanMs: number
  readonly twinMeanMs: number
  readonly mean: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
}

/** Plays a recorded run's arrivals and lengths through engines of `profile` with the run's own block count, seats and budget. */
export function replayRun(run: RecordedRun, profile: Profile, policy = 'round-robin'): RecordedCall[] {
  const machine = { ...profile, kvBlocks: run.kvBlocks, seats: run.seats, budgetTokens: run.budgetTokens }
  const caller = callerOf('recorded')
  const played: RecordedCall[] = []
  new Simulation({
    fleet: Array.from({ length: run.replicas }, (_, i) => ({ name: `replica ${i}`, profile: machine })),
    calls: streamOf(
      run.calls.map((call, i) => ({
        atMs: call.atMs,
        promptTokens: call.promptTokens,
        outputTokens: sealOutput(call.outputTokens),
        predictedTokens: Number.NaN,
        call: describeCall({ id: i + 1, atMs: call.atMs, promptTokens: call.promptTokens, caller }),
        blockHashes: [],
      })),
    ),
    policy: () => createTwinPolicy(policy),
    policyName: policy,
    rng: createRng(1),
    onEnd: (end) => {
      if (end.ending !== 'completed') throw new Error(`call ${end.index} of ${run.label} does not fit into ${machine.kvBlocks} blocks`)
      played[end.index] = {
        ...(run.calls[end.index] as RecordedCall),
        ttftMs: end.firstTokenMs - end.arrivedMs,
        e2eMs: end.endedMs - end.arrivedMs,
      }
    },
  }).run()
  return played
}

/** How far the twin is off on each latency. */
export function compareRun(run: RecordedRun, played: readonly RecordedCall[]): LatencyError[] {
  return (['ttft', 'tpot', 'e2e'] as const).map((latency) => {
    const real = sorted(run.calls, latency)
    const twin = sorted(played, latency)
    const off = (of: (values: Float64Array) => number): number => of(twin) / of(real) - 1
    return {
      latency,
      realMeanMs: meanOf(real),
      twinMeanMs: meanOf(twin),
      mean: off(meanOf),
      p50: off((values) => percentile(values, 0.5)),
      p90: off((values) => percentile(values, 0.9)),
      p99: off((values) => percentile(values, 0.99)),
    }
  })
}

function sorted(calls: readonly RecordedCall[], latency: Latency): Float64Array {
  return Float64Array.from(
    calls.flatMap((call) => {
      if (latency === 'ttft') return call.ttftMs
      if (latency === 'e2e') return call.e2eMs
      return call.outputTokens > 1 ? (call.e2eMs - call.ttftMs) / (call.outputTokens - 1) : []
    }),
  ).sort()
}

function meanOf(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
