import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createRng } from '../../rng.ts'
import type { MachineSpec } from '../fleet/machine.ts'
import { KV_BLOCK_TOKENS, type Profile } from '../profiles.ts'
import { instanceCallsPerS } from '../saturation.ts'
import { readTrace, type TraceCall } from '../traces.ts'
import { readAgentSessions } from './agents.ts'
import { type Scenario, SIGMA, sameMachines } from './scenarios.ts'
import { drawServeGen, readServeGen } from './servegen.ts'
import { blockHashesOf, halfOf, resampleBlocks, traceCalls } from './trace-calls.ts'

/** A scenario on data that is not shipped: its name and the file it needs. */
export interface TraceScenarioPlan {
  readonly name: string
  /** Path below the data folder. */
  readonly file: string
  readonly load: (file: string, half: 'first' | 'second') => Promise<Scenario>
}

const CHAT = 'azure/AzureLLMInferenceTrace_conv.first1800s.csv'
const CODE = 'azure/AzureLLMInferenceTrace_code.first1800s.csv'
const MOONCAKE = 'mooncake/conversation_trace.first1800s.jsonl'

/** Share of round robin's saturation at which the trace scenarios are played. */
const TRACE_LOAD = 0.85

/** The named scenarios on recorded traffic. Half 'first' is for training, 'second' for judging. */
export const TRACE_SCENARIOS: readonly TraceScenarioPlan[] = [
  { name: 'azure-chat', file: CHAT, load: (file, half) => scaledTrace('azure-chat', file, half) },
  { name: 'azure-code', file: CODE, load: (file, half) => scaledTrace('azure-code', file, half) },
  { name: 'mooncake', file: MOONCAKE, load: (file, half) => scaledTrace('mooncake', file, half) },
  { name: 'azure-chat-over', file: CHAT, load: (file) => overloadTrace({ name: 'azure-chat-over', file, calls: 6000, speed: 5.5 }) },
  { name: 'azure-code-over', file: CODE, load: (file) => overloadTrace({ name: 'azure-code-over', file, calls: 4000, speed: 5 }) },
  { name: 'servegen-day', file: 'servegen/data/language/m-small', load: async (folder) => servegenDay(folder) },
  { name: 'agent-sessions', file: 'lmcache-agent-trace/miniswe', load: async (folder) => agentSessions(folder) },
]

/** A day of the service squeezed 144-fold into ten minutes, thinned to some thousand calls; whole clients with their own bursts. */
const DAY = { fromHour: 48, hours: 24, rateFactor: 1 / 1200, speed: 144 }

async function servegenDay(folder: string): Promise<Scenario> {
  const clients = readServeGen(folder)
  const fleet = sameMachines('a100-8b', 4)
  const draw = (seed: number, rateFactor: number): readonly TraceCall[] =>
    drawServeGen(clients, { ...DAY, rateFactor: DAY.rateFactor * rateFactor, rng: createRng(seed).stream('servegen-day') })
  return {
    name: 'servegen-day',
    label: 'a100-8b, 24 hours of ServeGen m-small in ten minutes',
    fleet,
    callsPerS: (1000 * draw(1, 1).length) / ((DAY.hours * 3_600_000) / DAY.speed),
    calls: ({ seed, sigma = SIGMA, errors, rateFactor = 1 }) =>
      traceCalls(draw(seed, rateFactor), { speed: 1, sigma, errors, rng: createRng(seed).stream('servegen-day') }),
  }
}

/** Recorded agents, ten sessions, two new ones per second. */
const SESSIONS_PER_S = 2

async function agentSessions(folder: string): Promise<Scenario> {
  return {
    name: 'agent-sessions',
    label: 'a100-8b, recorded mini-SWE agents',
    fleet: sameMachines('a100-8b', 2),
    callsPerS: SESSIONS_PER_S * 10,
    calls: ({ seed, sigma = SIGMA, errors, rateFactor = 1 }) =>
      readAgentSessions(folder, {
        sessionsPerS: SESSIONS_PER_S * rateFactor,
        sigma,
        errors,
        rng: createRng(seed).stream('agent-sessions'),
      }),
  }
}

/** The traces that the named scenarios use; the others are played when they are asked for. */
export const NAMED_TRACES: readonly string[] = ['azure-chat', 'azure-code', 'mooncake', 'azure-chat-over', 'azure-code-over']

/** Scenarios whose data is there, and the names of those whose data is not. */
export async function loadTraceScenarios(
  dataDir: string,
  half: 'first' | 'second' = 'second',
): Promise<{ readonly scenarios: Scenario[]; readonly missing: readonly TraceScenarioPlan[] }> {
  const there = TRACE_SCENARIOS.filter((plan) => existsSync(join(dataDir, plan.file)))
  const scenarios = await Promise.all(there.map((plan) => plan.load(join(dataDir, plan.file), half)))
  return { scenarios, missing: TRACE_SCENARIOS.filter((plan) => !there.includes(plan)) }
}

/** 4 × a100-8b at 0.85 of what they complete of this trace in turn; a seed resamples 60-s blocks of the half. */
async function scaledTrace(name: string, file: string, half: 'first' | 'second'): Promise<Scenario> {
  const whole = await readTrace(file)
  const fleet = sameMachines('a100-8b', 4)
  const trace = halfOf(whole, half)
  const durationS = (trace.at(-1)?.atMs ?? 1) / 1000
  const speed = (TRACE_LOAD * capacityOf(fleet, trace) * durationS) / trace.length
  return {
    name,
    label: `a100-8b, ${name} trace × ${speed.toFixed(2)}`,
    fleet,
    callsPerS: (trace.length / durationS) * speed,
    calls: ({ seed, sigma = SIGMA, errors, rateFactor = 1 }) => {
      const rng = createRng(seed).stream(name)
      return traceCalls(resampleBlocks(trace, rng), { speed: speed * rateFactor, sigma, errors, rng })
    },
  }
}

/** The trace's first calls, faster than two a100-8b can serve them; a seed changes only the prediction errors. */
async function overloadTrace(plan: {
  readonly name: string
  readonly file: string
  readonly calls: number
  readonly speed: number
}): Promise<Scenario> {
  const trace = (await readTrace(plan.file)).slice(0, plan.calls)
  const durationS = (trace.at(-1)?.atMs ?? 1) / 1000
  return {
    name: plan.name,
    label: `a100-8b, first ${plan.calls} calls of the trace × ${plan.speed}`,
    fleet: sameMachines('a100-8b', 2),
    callsPerS: (trace.length / durationS) * plan.speed,
    calls: ({ seed, sigma = SIGMA, errors, rateFactor = 1 }) =>
      traceCalls(trace, { speed: plan.speed * rateFactor, sigma, errors, rng: createRng(seed).stream(plan.name) }),
  }
}

/** Calls per second that the fleet completes of a trace dealt in turn, with always a few waiting. */
export function capacityOf(fleet: readonly MachineSpec[], trace: readonly TraceCall[]): number {
  return fleet.reduce((sum, { profile }, i) => sum + instanceCapacity(profile, { trace, first: i, step: fleet.length }), 0)
}

function instanceCapacity(
  profile: Profile,
  dealt: { readonly trace: readonly TraceCall[]; readonly first: number; readonly step: number },
): number {
  let at = dealt.first
  return instanceCallsPerS(profile, () => {
    const call = dealt.trace[at % dealt.trace.length] as TraceCall
    at += dealt.step
    const { promptTokens, outputTokens, hashIds } = call
    return {
      promptTokens,
      outputTokens,
      ...(hashIds && promptTokens > KV_BLOCK_TOKENS ? { blockHashes: blockHashesOf(hashIds, promptTokens) } : {}),
    }
  })
}
