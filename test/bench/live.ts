import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { stringify } from 'yaml'
import { systemClock } from '../../plugin/clock.ts'
import type { InstanceView } from '../../plugin/fleet/instance.ts'
import { BASE_POLICY_FOLDER, readPolicyModel } from '../../plugin/learning/policy-folder.ts'
import { createPolicy, LEARNED } from '../../plugin/placement/policies.ts'
import { createRng } from '../../plugin/rng.ts'
import { Simulation } from '../../plugin/simulation/fleet/simulation.ts'
import { revealOutput } from '../../plugin/simulation/fleet/truth.ts'
import { streamOf, type TwinCall } from '../../plugin/simulation/fleet/twin-call.ts'
import { profileNamed } from '../../plugin/simulation/profiles.ts'
import { type ReplayResult, replay } from '../../plugin/simulation/replay.ts'
import { fleetCallsPerS } from '../../plugin/simulation/saturation.ts'
import { holdOf } from '../../plugin/simulation/scenario/arm.ts'
import { generateCalls } from '../../plugin/simulation/scenario/generated.ts'
import { drawPaper } from '../../plugin/simulation/scenario/mixes.ts'
import { type Score, ScoreSheet } from '../../plugin/simulation/scenario/score.ts'
import type { TraceCall } from '../../plugin/simulation/traces.ts'
import { defaultVirtualFleet, VIRTUAL_MODEL } from '../../plugin/simulation/virtual-fleet.ts'
import { atMost, type BenchResult, progress, type Row, rounded, startNode } from './harness.ts'

const model = readPolicyModel(BASE_POLICY_FOLDER)

/** The gain of the learned policy, live and in the twin, may differ by this. */
const GAIN_ERROR_GOAL = 0.03
/** How far the mean E2E of the twin may be from that of the real thing. */
const ERROR_GOAL = 0.03
const SPEEDS: Readonly<Record<string, number>> = { 'v100-llama-2-7b': 1, 'a100-llama-2-7b': 4.8 }
/** As the router scrapes by default, in real ms. */
const SCRAPE_MS = 250
/**
 * A sender that is later than this (p99, real ms) tells that the machine was busy with something else: such a run measures that, not the fleet, and is
 * repeated up to so many times in all. What was discarded is counted in the row.
 */
const LATE_MS_MAX = 5
const ATTEMPTS_MAX = 4
/** Ties are drawn by other dice in the twin: its figure is the mean over so many seeds. */
const TWIN_SEEDS = 20

/**
 * The same calls through the real thing (supervisor, router, proxy, log, real sockets, engines in real time, each `--factor` times faster than its profile)
 * and through the twin: how far apart the means are. The twin knows nothing of the live run but fleet, policy and arrivals.
 */
export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      calls: { type: 'string', default: '600' },
      factor: { type: 'string', default: '2' },
      load: { type: 'string', default: '0.6' },
      policies: { type: 'string', default: 'round-robin,least-request-speed,least-request,learned' },
      seed: { type: 'string', default: '1' },
    },
  })
  const factor = Number(values.factor)
  const callsPerS = Number(values.load) * fleetCallsPerS(defaultVirtualFleet)
  const policies = values.policies.split(',')
  const rows: Row[] = []
  const errors: number[] = []
  const means = new Map<string, { readonly live: number; readonly twin: number }>()
  for (const [i, policy] of policies.entries()) {
    const calls = drawCalls({ calls: Number(values.calls), callsPerS, seed: Number(values.seed) })
    const { live, discarded } = await runUndisturbed({ calls, policy, factor })
    if (live.failed > 0) throw new Error(`${live.failed} of ${live.sent} calls failed: ${JSON.stringify(live.failures)}`)
    const twin = runTwin({ calls, policy, factor })
    const error = Math.abs(twin.e2eMs / (live.e2e?.meanMs ?? Number.NaN) / factor - 1)
    errors.push(error)
    means.set(policy, { live: (live.e2e?.meanMs ?? Number.NaN) * factor, twin: twin.e2eMs })
    rows.push({ ...rowOf({ policy, live, twin, factor }), discarded })
    progress(i + 1, policies.length, policy)
  }
  const bars = [atMost('twinVsLiveErr', rounded(Math.max(...errors)), ERROR_GOAL)]
  const [ours, theirs] = [means.get(LEARNED), means.get('least-request')]
  if (!ours || !theirs) return { rows, bars }
  const [live, twin] = [1 - ours.live / theirs.live, 1 - ours.twin / theirs.twin]
  console.log(`learned over least-request: ${(100 * live).toFixed(1)} % live, ${(100 * twin).toFixed(1)} % in the twin`)
  return { rows, bars: [...bars, atMost('gainTwinVsLive', rounded(Math.abs(live - twin)), GAIN_ERROR_GOAL)] }
}

/** Calls of the paper's mix at the profile's own speed. */
function drawCalls(plan: { readonly calls: number; readonly callsPerS: number; readonly seed: number }): TwinCall[] {
  const stream = generateCalls({ mix: drawPaper, ...plan, sigma: 0.5, rng: createRng(plan.seed) })
  const calls: TwinCall[] = []
  for (let call = stream.next(); call; call = stream.next()) calls.push(call)
  return calls
}

interface Running {
  readonly calls: readonly TwinCall[]
  readonly policy: string
  readonly factor: number
}

/** The first run in which the sender kept its times; the last one where none did. */
async function runUndisturbed(running: Running): Promise<{ readonly live: ReplayResult; readonly discarded: number }> {
  for (let discarded = 0; ; discarded++) {
    const live = await runLive(running)
    const lateMs = live.lateness?.p99Ms ?? 0
    if (lateMs <= LATE_MS_MAX || discarded + 1 === ATTEMPTS_MAX) return { live, discarded }
    console.error(
      `${running.policy}: the machine was busy, calls left up to ${lateMs.toFixed(1)} ms late (p99), ${live.failed} failed; once more`,
    )
  }
}

/** Starts fleet and Phasewise as processes and replays the calls through the proxy, `factor` times as fast. */
async function runLive({ calls, policy, factor }: Running): Promise<ReplayResult> {
  const running: { end(): Promise<void> }[] = []
  try {
    const specs = defaultVirtualFleet.map((spec) => ({ ...spec, timeFactor: factor }))
    const fleet = startNode(new URL('./live/fleet.ts', import.meta.url).pathname, [JSON.stringify(specs)])
    running.push(fleet)
    const urls = ((await fleet.printed(/urls (\S+) end/))[1] ?? '').split(',')
    const cwd = mkdtempSync(join(tmpdir(), 'phasewise-live-'))
    running.push({ end: async () => rmSync(cwd, { recursive: true, force: true }) })
    const any = '127.0.0.1:0'
    const instances = specs.map(({ name, profile }, i) => ({ name, profile, speed: SPEEDS[profile] ?? 1, url: urls[i] }))
    const config = {
      seed: 1,
      gateways: { openai: { listen: any, debugHeaders: true }, placements: { listen: any }, envoy: { listen: any } },
      admin: { listen: 'off' },
      telemetry: { metrics: any },
      scrape: { intervalMs: SCRAPE_MS },
      pools: [{ name: VIRTUAL_MODEL, engine: 'virtual', policy, exploration: 0, hold: policy === LEARNED ? 'auto' : 'off', instances }],
    }
    writeFileSync(join(cwd, 'phasewise.yaml'), stringify(config))
    const ours = startNode(new URL('../../plugin/main.ts', import.meta.url).pathname, ['start'], { cwd })
    running.push(ours)
    const [, url] = await ours.printed(/proxy\s+(http:\/\/127\.0\.0\.1:\d+)/i)
    return await replay({ trace: calls.map(traceCall), url: url ?? '', speed: factor, clock: systemClock })
  } finally {
    for (const one of running.reverse()) await one.end()
  }
}

function traceCall({ atMs, promptTokens, outputTokens, call }: TwinCall): TraceCall {
  return { atMs, promptTokens, outputTokens: revealOutput(outputTokens, 'engine'), application: call.caller.application }
}

interface TwinFigures {
  readonly e2eMs: number
  readonly ttftMs: number
  readonly tpotMs: number
  readonly p99E2eMs: number
  readonly shares: readonly number[]
}

function runTwin({ calls, policy, factor }: Running): TwinFigures {
  const scores = Array.from({ length: TWIN_SEEDS }, (_, i) => playTwin({ calls, policy, factor }, i + 1))
  const mean = (figure: (score: Score) => number): number => scores.reduce((sum, score) => sum + figure(score), 0) / scores.length
  return {
    e2eMs: mean((one) => one.meanE2eMs),
    ttftMs: mean((one) => one.meanTtftMs),
    tpotMs: mean((one) => one.meanTpotMs),
    p99E2eMs: mean((one) => one.p99E2eMs),
    shares: defaultVirtualFleet.map((_, k) => mean((one) => one.shares[k] ?? 0)),
  }
}

function playTwin({ calls, policy, factor }: Running, seed: number): Score {
  const sheet = new ScoreSheet(defaultVirtualFleet.length)
  const profiles = new Map(defaultVirtualFleet.map((one) => [one.name, profileNamed(one.profile)]))
  const parts = { model, profileOf: ({ name }: InstanceView) => profiles.get(name) }
  const made = createPolicy(policy, policy === LEARNED ? parts : {})
  const simulation = new Simulation({
    fleet: defaultVirtualFleet.map(({ name, profile }) => ({ name, profile: profileNamed(profile), speed: SPEEDS[profile] ?? 1 })),
    calls: streamOf(calls),
    policy: () => made,
    policyName: policy,
    ...holdOf({ policy }, made, parts),
    rng: createRng(seed).stream('policy'),
    scrapeMs: SCRAPE_MS * factor,
    onEnd: (end) => sheet.add(end),
  })
  return sheet.score(simulation.run())
}

function rowOf({
  policy,
  live,
  twin,
  factor,
}: {
  readonly policy: string
  readonly live: ReplayResult
  readonly twin: TwinFigures
  readonly factor: number
}): Row {
  const real = (ms: number | undefined): number => (ms ?? Number.NaN) * factor
  const apart = (ours: number, theirs: number): string => `${((ours / theirs - 1) * 100).toFixed(1)} %`
  return {
    policy,
    calls: live.succeeded,
    liveE2eMs: Math.round(real(live.e2e?.meanMs)),
    twinE2eMs: Math.round(twin.e2eMs),
    e2e: apart(twin.e2eMs, real(live.e2e?.meanMs)),
    ttft: apart(twin.ttftMs, real(live.ttft?.meanMs)),
    tpot: apart(twin.tpotMs, real(live.tpot?.meanMs)),
    e2eP99: apart(twin.p99E2eMs, real(live.e2e?.p99Ms)),
    liveShares: Object.entries(live.callsByInstance)
      .map(([name, count]) => `${name} ${(count / live.succeeded).toFixed(2)}`)
      .join(', '),
    twinShares: defaultVirtualFleet.map(({ name }, k) => `${name} ${(twin.shares[k] ?? 0).toFixed(2)}`).join(', '),
    sentLateP99Ms: rounded(live.lateness?.p99Ms ?? Number.NaN),
  }
}
