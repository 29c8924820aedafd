import { evaluate } from '../../../plugin/learning/evaluate.ts'
import type { Gain } from '../../../plugin/learning/evaluate-intervals.ts'
import { BASE_POLICY_FOLDER, readPolicyModel } from '../../../plugin/learning/policy-folder.ts'
import { type CalibratedProfile, calibratedFleet, calibrateProfiles } from '../../../plugin/learning/profiles.ts'
import { blocksNeeded, estimateSwitchback, gatherBlocks, type SwitchbackEstimate } from '../../../plugin/learning/switchback.ts'
import { createTwinPolicy } from '../../../plugin/placement/policies.ts'
import type { Policy } from '../../../plugin/placement/policy.ts'
import { momentOf, suggestBlocks } from '../../../plugin/placement/switchback.ts'
import { createRng } from '../../../plugin/rng.ts'
import type { MachineSpec } from '../../../plugin/simulation/fleet/machine.ts'
import type { TwinCall } from '../../../plugin/simulation/fleet/twin-call.ts'
import { profileNamed } from '../../../plugin/simulation/profiles.ts'
import { instanceCallsPerS } from '../../../plugin/simulation/saturation.ts'
import { generateCalls } from '../../../plugin/simulation/scenario/generated.ts'
import { drawLogNormal, drawPaper, drawWide, type Mix } from '../../../plugin/simulation/scenario/mixes.ts'
import { quantile } from '../harness.ts'
import { type Estimate, estimate } from '../placement/statistics.ts'
import { type CanaryCall, playCanary } from './canary.ts'
import { hideProfile, logDay, NETWORK_MS } from './hidden.ts'

/** A fleet that nobody knows under a workload, what serves it and what is to serve it. */
export interface PromisedCase {
  readonly name: string
  readonly profiles: readonly string[]
  readonly mix: Mix
  readonly load: number
  readonly arrivalCv?: number
  readonly serving: string
  readonly challenger: string
}

const drawCode: Mix = drawLogNormal('generic', { prompt: [2048, 1926, 7500], output: [28, 60, 2000] })
const four = (profile: string): string[] => [profile, profile, profile, profile]

export const PROMISED_CASES: readonly PromisedCase[] = [
  { name: 'V100 ×4, wide', profiles: four('v100-32g'), mix: drawWide, load: 0.75, serving: 'least-request', challenger: 'impact' },
  { name: 'A100 ×4, wide', profiles: four('a100-7b'), mix: drawWide, load: 0.85, serving: 'least-request', challenger: 'learned' },
  {
    name: '2 V100 + 2 A100, wide',
    profiles: ['v100-32g', 'v100-32g', 'a100-7b', 'a100-7b'],
    mix: drawWide,
    load: 0.7,
    serving: 'least-request',
    challenger: 'impact',
  },
  {
    name: 'RTX 4090 ×4, paper',
    profiles: four('rtx4090-llama-3.1-8b'),
    mix: drawPaper,
    load: 0.75,
    serving: 'random',
    challenger: 'least-kv',
  },
  {
    name: 'A100-8b ×4, code, bursty',
    profiles: four('a100-8b'),
    mix: drawCode,
    load: 0.6,
    arrivalCv: 2,
    serving: 'least-request',
    challenger: 'impact',
  },
  {
    name: 'V100 + H100, paper',
    profiles: ['v100-32g', 'v100-32g', 'h100-llama-2-7b'],
    mix: drawPaper,
    load: 0.65,
    serving: 'least-request',
    challenger: 'least-request-speed',
  },
]

export interface PromisedRow {
  readonly name: string
  readonly serving: string
  readonly challenger: string
  /** By the twin, with its 95 % interval. */
  readonly promised: Gain
  readonly measured: SwitchbackEstimate
  /** On the fleet itself, whole stretches under either, the same calls: what both should come to, without blocks and their wash-outs. */
  readonly whole: Estimate
  /** Blocks that the twin said are needed to show the promised gain. */
  readonly blocksNeeded: number
  readonly points: number
}

/** Calls of the log that promises: those that calibrate, and later ones that are replayed, as many as a night keeps. */
const KNOWN_CALLS = 15_000
const LOG_CALLS = KNOWN_CALLS + 30_000
/** Blocks of the twin's own experiment beforehand, and of the one that measures: as many as its interval takes to be this wide, within bounds of time and memory. */
const PILOT_BLOCKS = 24
const INTERVAL_WIDTH = 0.03
const CANARY_BLOCKS = { least: 80, most: 800, callsMost: 2_000_000 }
/** Paired stretches on the fleet itself. */
const WHOLE_STRETCHES = 8
const WHOLE_CALLS = 15_000

/** Promises by the twin that is calibrated on a log of what serves now, then measures by switchback on the fleet itself. */
export async function promiseAndMeasure(given: PromisedCase, seed: number): Promise<PromisedRow> {
  const rng = createRng(seed)
  const byType = new Map([...new Set(given.profiles)].map((name) => [name, hideProfile(profileNamed(name), rng.stream(name))]))
  const speeds = new Map([...byType].map(([name, profile]) => [name, instanceCallsPerS(profile, given.mix)]))
  const slowest = Math.min(...speeds.values())
  const fleet = given.profiles.map(
    (name, i): MachineSpec => ({
      name: `i${i}`,
      profile: byType.get(name)!,
      speed: Math.round((10 * speeds.get(name)!) / slowest) / 10,
    }),
  )
  const callsOf = (calls: number, name: string): TwinCall[] => drawCalls(fleet, given, { calls, rng: rng.stream(name) })
  const { rows, scrapes } = logDay(fleet, { calls: callsOf(LOG_CALLS, 'log'), rng: rng.stream('day'), policy: given.serving })
  const instances = fleet.map((one) => ({ name: one.name, speed: one.speed!, kvTokens: one.profile.kvBlocks * 16 }))
  const found = calibrateProfiles({ instances, calls: rows.slice(0, KNOWN_CALLS), scrapes })
  const twin = calibratedFleet(found, instances)
  const model = readPolicyModel(BASE_POLICY_FOLDER)
  const armOf = (policy: string): string => (policy === 'learned' ? 'learned + off' : policy)
  const promised = await evaluate({
    fleet: twin,
    calls: rows.slice(KNOWN_CALLS),
    serving: { arm: armOf(given.serving) },
    challenger: { arm: armOf(given.challenger), model },
    scrapeMs: 50,
    networkMs: NETWORK_MS,
    seed,
  })
  const policyOf = (name: string) => (): Policy => createTwinPolicy(name, { model, profileOf: believedBy(found) })
  const plan = {
    seed,
    startUnixMs: 0,
    shareRatio: 0.5,
    ...suggestBlocks({
      e2eMsP90: quantile(
        rows.map((row) => row.e2eMs),
        0.9,
      ),
    }),
  }
  const callsPerS = (1000 * LOG_CALLS) / (rows.at(-1)!.arrivedUnixMs - rows[0]!.arrivedUnixMs)
  const callsIn = (count: number): number => Math.ceil((count * plan.blockMs * callsPerS) / 1000)
  const run = { fleet, plan, seed, networkMs: NETWORK_MS, control: policyOf(given.serving), challenger: policyOf(given.challenger) }
  const pilot = blocksOf({ ...run, fleet: twin, challenger: run.control, calls: callsOf(callsIn(PILOT_BLOCKS), 'pilot') })
  const needed = blocksNeeded(pilot, { gain: promised.gain[0], shareRatio: plan.shareRatio })
  const blocks = Math.min(blocksForWidth(needed.spread), Math.floor(CANARY_BLOCKS.callsMost / callsIn(1)))
  const measured = estimateSwitchback(blocksOf({ ...run, calls: callsOf(callsIn(blocks), 'canary') }))
  return {
    name: given.name,
    serving: given.serving,
    challenger: given.challenger,
    promised: promised.gain,
    measured,
    whole: wholeStretches(run, (stretch) => callsOf(WHOLE_CALLS, `whole ${stretch}`)),
    blocksNeeded: needed.blocks,
    points: 100 * Math.abs(promised.gain[0] - measured.gain),
  }
}

/** Blocks of equal shares until the gain's 95 % interval is as wide as wanted: width = 2 · 1.96 · spread · √(4 ÷ blocks). */
function blocksForWidth(spread: number): number {
  const { least, most } = CANARY_BLOCKS
  return Math.min(most, Math.max(least, 2 * Math.ceil(2 * ((2 * 1.96 * spread) / INTERVAL_WIDTH) ** 2)))
}

const believedBy =
  (found: readonly CalibratedProfile[]) =>
  ({ name }: { readonly name: string }) =>
    found.find((one) => one.instance === name)?.profile

function drawCalls(
  fleet: readonly MachineSpec[],
  given: PromisedCase,
  plan: { readonly calls: number; readonly rng: ReturnType<typeof createRng> },
): TwinCall[] {
  const capacity = fleet.reduce((sum, { profile }) => sum + instanceCallsPerS(profile, given.mix), 0)
  const stream = generateCalls({
    mix: given.mix,
    callsPerS: capacity * given.load,
    calls: plan.calls,
    sigma: 0.5,
    rng: plan.rng,
    ...(given.arrivalCv === undefined ? {} : { arrivalCv: given.arrivalCv }),
  })
  return Array.from({ length: plan.calls }, () => stream.next()!)
}

/** Mean E2E of the challenger under that of what serves, stretch by stretch of the same calls, each wholly under one. */
function wholeStretches(run: Omit<Parameters<typeof playCanary>[0], 'calls'>, callsOf: (stretch: number) => readonly TwinCall[]): Estimate {
  const ratios = Array.from({ length: WHOLE_STRETCHES }, (_, stretch) => {
    const calls = callsOf(stretch)
    const under = (policy: () => Policy): number => meanE2eMs(playCanary({ ...run, calls, control: policy, challenger: policy }))
    return 1 - under(run.challenger) / under(run.control)
  })
  return estimate(ratios)
}

function meanE2eMs(calls: readonly CanaryCall[]): number {
  const completed = calls.filter((call) => call.completed)
  return completed.reduce((sum, call) => sum + call.endedMs - (call.nowMs - call.heldMs), 0) / completed.length
}

function blocksOf(run: Parameters<typeof playCanary>[0]) {
  const calls = playCanary(run).map((call) => ({
    arrivedUnixMs: call.nowMs,
    figure: call.completed ? call.endedMs - (call.nowMs - call.heldMs) : Number.NaN,
    workTokens: call.outputTokens + 0.1 * call.promptTokens,
  }))
  return gatherBlocks(calls, { at: (unixMs) => momentOf(run.plan, unixMs), judgedMs: run.plan.blockMs })
}
