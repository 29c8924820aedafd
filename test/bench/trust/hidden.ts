import { scaleLaw } from '../../../plugin/impact/engine-shape.ts'
import { type EngineTimes, playEngine } from '../../../plugin/learning/play-engine.ts'
import { instanceLogs } from '../../../plugin/learning/profile-rows.ts'
import type { CalibratedProfile, ProfileCall, ProfileScrape } from '../../../plugin/learning/profiles.ts'
import { createPolicy } from '../../../plugin/placement/policies.ts'
import type { Policy } from '../../../plugin/placement/policy.ts'
import type { Rng } from '../../../plugin/rng.ts'
import type { FleetEvent, MachineSpec } from '../../../plugin/simulation/fleet/machine.ts'
import { Simulation } from '../../../plugin/simulation/fleet/simulation.ts'
import { streamOf, type TwinCall } from '../../../plugin/simulation/fleet/twin-call.ts'
import type { Profile } from '../../../plugin/simulation/profiles.ts'
import { instanceCallsPerS } from '../../../plugin/simulation/saturation.ts'
import { generateCalls } from '../../../plugin/simulation/scenario/generated.ts'
import type { Mix } from '../../../plugin/simulation/scenario/mixes.ts'

/** Unix time at which the logs of these tests begin. */
export const START_UNIX_MS = 1_767_225_600_000
/** One way between router and instance in these logs, ms. */
export const NETWORK_MS = 1.5
/** Relative noise of each measured time. */
const NOISE = 0.03
/** Load changes every so many calls, between these shares of the fleet's capacity. */
const LOAD_CALLS = 500
const LOADS = { least: 0.3, most: 1.2 }

/** A profile that nobody knows: a shipped one with every coefficient, memory and seats changed by chance. */
export function hideProfile(profile: Profile, rng: Rng): Profile {
  const factor = (): number => Math.exp(0.35 * rng.normal())
  const law = scaleLaw(profile.law, factor())
  const [steep, perToken, perCall, perContext, prefill] = [factor(), factor(), factor(), factor(), factor()]
  return {
    ...profile,
    name: 'hidden',
    law: {
      dense: law.dense.map((line, i) => ({ baseMs: line.baseMs * (i === 0 ? 1 : steep), perTokenMs: line.perTokenMs * perToken })),
      head: { baseMs: law.head.baseMs, perCallMs: law.head.perCallMs * perCall },
      decode: {
        baseMs: law.decode.baseMs,
        perCallMs: law.decode.perCallMs * perCall,
        perContextTokenMs: law.decode.perContextTokenMs * perContext,
      },
      prefill: {
        baseMs: law.prefill.baseMs,
        perTokenMs: law.prefill.perTokenMs * prefill,
        perCachedProductMs: law.prefill.perCachedProductMs * prefill,
        perSquareMs: law.prefill.perSquareMs * prefill,
      },
    },
    kvBlocks: Math.round(profile.kvBlocks * Math.exp(0.3 * rng.normal())),
    seats: [16, 48, 128, 256][rng.int(4)]!,
  }
}

/** What a log holds of a day: rows as they would be read, and the scrapes between them. */
export interface LoggedDay {
  readonly rows: readonly ProfileCall[]
  readonly scrapes: readonly ProfileScrape[]
}

/** Calls whose load swings between 0.3 and 1.2 of what the fleet can do. */
export function swingingCalls(
  fleet: readonly MachineSpec[],
  given: { readonly calls: number; readonly mix: Mix; readonly rng: Rng; readonly systemTokens?: number },
): TwinCall[] {
  const { calls: wanted, mix, rng, systemTokens = 0 } = given
  const capacity = fleet.reduce((sum, { profile }) => sum + instanceCallsPerS(profile, mix), 0)
  const calls: TwinCall[] = []
  let fromMs = 0
  for (let part = 0; calls.length < wanted; part++) {
    const load = LOADS.least + (LOADS.most - LOADS.least) * rng.next()
    const stream = generateCalls({
      mix,
      callsPerS: capacity * load,
      calls: LOAD_CALLS,
      sigma: 0.5,
      systemTokens,
      rng: rng.stream(`part ${part}`),
    })
    for (let call = stream.next(); call; call = stream.next())
      calls.push({ ...call, atMs: call.atMs + fromMs, call: { ...call.call, callId: calls.length + 1 } })
    fromMs = calls.at(-1)!.atMs
  }
  return calls.slice(0, wanted)
}

/** Serves the calls on the fleet and writes down what a log would: times with noise, whole milliseconds of arrival, scrapes at decisions. */
export function logDay(
  fleet: readonly MachineSpec[],
  given: { readonly calls: readonly TwinCall[]; readonly rng: Rng; readonly policy?: string; readonly script?: readonly FleetEvent[] },
): LoggedDay {
  const noise = given.rng.stream('noise')
  const measured = (ms: number): number => ms * Math.exp(NOISE * noise.normal())
  const rows: ProfileCall[] = []
  const scrapes: ProfileScrape[] = []
  const name = given.policy ?? 'least-request'
  new Simulation({
    fleet,
    calls: streamOf(given.calls),
    policy: () => scraping(createPolicy(name), scrapes),
    policyName: name,
    networkMs: NETWORK_MS,
    rng: given.rng.stream('policy'),
    ...(given.script ? { script: given.script } : {}),
    onEnd: (end) => {
      const ttftMs = measured(end.firstTokenMs - end.arrivedMs)
      const decodeMs = measured(end.endedMs - end.firstTokenMs)
      const completed = end.ending === 'completed'
      const { application, tenant, task } = end.call.call.caller
      rows[end.index] = {
        arrivedUnixMs: Math.floor(START_UNIX_MS + end.arrivedMs),
        application,
        tenant,
        task: task ?? null,
        promptTokens: end.call.promptTokens,
        maxTokens: null,
        instance: fleet[end.instance]?.name ?? null,
        predictedOutputTokens: end.call.predictedTokens,
        outcome: completed ? 'completed' : 'instance error',
        ttftMs: Number.isNaN(ttftMs) ? null : ttftMs,
        tpotMs: completed && end.outputTokens > 1 ? decodeMs / (end.outputTokens - 1) : null,
        e2eMs: completed ? ttftMs + decodeMs : end.endedMs - end.arrivedMs,
        outputTokens: completed ? end.outputTokens : null,
        prefixBlocks: Array.from(end.call.call.prefixBlocks, Number),
      }
    },
  }).run()
  return { rows, scrapes }
}

/** Every tenth decision what its scrapes said. */
function scraping(policy: Policy, scrapes: ProfileScrape[]): Policy {
  let decisions = 0
  return {
    ...policy,
    distribute(candidates, call, out) {
      policy.distribute(candidates, call, out)
      if (decisions++ % 10 !== 0) return
      for (let i = 0; i < candidates.count; i++) {
        const { name, scrape } = candidates.instances[i]!
        scrapes.push({
          instance: name,
          takenUnixMs: START_UNIX_MS + candidates.nowMs,
          waiting: scrape.waiting,
          running: scrape.running,
          kvUsageRatio: scrape.kvUsageRatio,
        })
      }
    },
  }
}

/** Mean of the twin over mean of the log, − 1. */
export interface TwinErrors {
  readonly calls: number
  readonly ttft: number
  readonly tpot: number
  readonly e2e: number
}

/** Plays the whole log through the profiles with the placements that were made, and compares the calls that arrived from `fromUnixMs` on. */
export function twinErrors(
  rows: readonly ProfileCall[],
  given: { readonly profiles: readonly Pick<CalibratedProfile, 'instance' | 'profile' | 'overheadMs'>[]; readonly fromUnixMs: number },
): TwinErrors {
  const sums = new Float64Array(6)
  let calls = 0
  for (const [name, log] of instanceLogs(rows)) {
    const own = given.profiles.find((one) => one.instance === name)!
    const first = rows.find((row) => row.instance === name)!.arrivedUnixMs
    const times: EngineTimes = playEngine(own.profile, log.calls)
    for (let i = 0; i < log.judged.length; i++) {
      if (log.judged[i] === 0 || log.calls.dispatchedMs[i]! + first < given.fromUnixMs) continue
      calls++
      const [ttftMs, e2eMs] = [times.ttftMs[i]! + own.overheadMs, times.e2eMs[i]! + own.overheadMs]
      const more = log.calls.outputTokens[i]! - 1
      const pairs = [
        ttftMs,
        log.ttftMs[i]!,
        e2eMs,
        log.e2eMs[i]!,
        ...(more > 0 ? [(e2eMs - ttftMs) / more, (log.e2eMs[i]! - log.ttftMs[i]!) / more] : []),
      ]
      pairs.forEach((value, k) => {
        sums[k]! += value
      })
    }
  }
  return { calls, ttft: sums[0]! / sums[1]! - 1, tpot: sums[4]! / sums[5]! - 1, e2e: sums[2]! / sums[3]! - 1 }
}
