import { Session } from 'node:inspector/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createPolicy } from '../../../plugin/placement/policies.ts'
import { createRng } from '../../../plugin/rng.ts'
import { Simulation } from '../../../plugin/simulation/fleet/simulation.ts'
import { type Profile, profileNamed } from '../../../plugin/simulation/profiles.ts'
import { instanceCallsPerS } from '../../../plugin/simulation/saturation.ts'
import { generateCalls } from '../../../plugin/simulation/scenario/generated.ts'
import { drawPaper } from '../../../plugin/simulation/scenario/mixes.ts'
import type { Row } from '../harness.ts'

const INSTANCES = 4
const LOAD = 0.85
/** With prefix cache each application has a system prompt of so many tokens, shared by its calls. */
const SYSTEM_TOKENS = 256
const PROFILE = 'a100-llama-2-7b'

export interface Speed {
  readonly what: string
  /** Per second of CPU time, main thread, compiler and collector together: what one core gives. */
  readonly callsPerS: number
  /** Memory that is really held (after a collection) at the last tenth of the calls beyond that at the first. */
  readonly grownMb: number
}

/** The paper's mix on four instances at 0.85 load with least-request. */
export function measureSpeed(plan: { readonly calls: number; readonly prefix: boolean }): Speed {
  simulate({ ...plan, calls: Math.min(50_000, plan.calls) })
  const startedUs = cpuUs()
  simulate(plan)
  const seconds = (cpuUs() - startedUs) / 1e6
  return {
    what: `${PROFILE} × ${INSTANCES}, mix paper, load ${LOAD}, least-request${plan.prefix ? `, prefix cache with ${SYSTEM_TOKENS} shared tokens` : ''}`,
    callsPerS: plan.calls / seconds,
    grownMb: measureGrowth(plan),
  }
}

/** The same once more, collecting garbage at the first and the last tenth: apart, so that collections do not count as the twin's time. */
function measureGrowth(plan: { readonly calls: number; readonly prefix: boolean }): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const held: number[] = []
  const tenth = Math.floor(plan.calls / 10)
  simulate(plan, (index) => {
    if (index !== tenth && index !== 9 * tenth) return
    collect()
    const { heapUsed, external } = process.memoryUsage()
    held.push(heapUsed + external)
  })
  return ((held[1] ?? Number.NaN) - (held[0] ?? Number.NaN)) / 1e6
}

/** Self time by part, in percent and in µs per call. */
export async function profileSpeed(calls: number): Promise<Row[]> {
  const session = new Session()
  session.connect()
  await session.post('Profiler.enable')
  await session.post('Profiler.start')
  simulate({ calls, prefix: false })
  const { profile } = await session.post('Profiler.stop')
  session.disconnect()
  const byId = new Map(profile.nodes.map((node) => [node.id, node.callFrame]))
  const byPart = new Map<string, number>()
  let totalUs = 0
  for (const [i, id] of (profile.samples ?? []).entries()) {
    const frame = byId.get(id)
    const us = profile.timeDeltas?.[i] ?? 0
    const part = partOf(frame?.url ?? '', frame?.functionName ?? '')
    if (part === 'idle') continue
    byPart.set(part, (byPart.get(part) ?? 0) + us)
    totalUs += us
  }
  return [...byPart]
    .sort(([, a], [, b]) => b - a)
    .map(([part, us]) => ({ part, percent: Number(((100 * us) / totalUs).toFixed(1)), 'µs per call': Number((us / calls).toFixed(2)) }))
}

const PARTS: readonly (readonly [RegExp, string])[] = [
  [/simulation\/engine\//, 'engine: steps, blocks, admission'],
  [/fleet\/twin-ledger/, 'ledgers: what routers believe'],
  [/simulation\/fleet\/(simulation|event-queue|call-table|machine)/, 'events'],
  [/simulation\/fleet\/|plugin\/fleet\//, 'routers: scrapes, health, booking'],
  [/plugin\/(placement|hold|impact)\//, 'policy: features, costs, draw'],
  [/simulation\/(scenario|workload|tasks)|plugin\/rng/, 'drawing the workload'],
]

function partOf(url: string, name: string): string {
  if (name === '(idle)' || name === '(program)') return name === '(idle)' ? 'idle' : 'node itself'
  if (name === '(garbage collector)') return 'garbage collection'
  return PARTS.find(([pattern]) => pattern.test(url))?.[1] ?? 'node itself'
}

function cpuUs(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

function simulate(plan: { readonly calls: number; readonly prefix: boolean }, onIndex: (index: number) => void = () => undefined): void {
  const profile: Profile = { ...profileNamed(PROFILE), prefixCache: plan.prefix }
  const systemTokens = plan.prefix ? SYSTEM_TOKENS : 0
  new Simulation({
    fleet: Array.from({ length: INSTANCES }, (_, i) => ({ name: `i${i}`, profile })),
    calls: generateCalls({
      mix: drawPaper,
      callsPerS: INSTANCES * LOAD * capacity(profile, systemTokens),
      calls: plan.calls,
      sigma: 0.5,
      systemTokens,
      rng: createRng(1),
    }),
    policy: () => createPolicy('least-request'),
    policyName: 'least-request',
    rng: createRng(2),
    onEnd: ({ index }) => onIndex(index),
  }).run()
}

/** Calls per second that one instance completes of the very calls that are simulated. */
function capacity(profile: Profile, systemTokens: number): number {
  const calls = generateCalls({ mix: drawPaper, callsPerS: 1, calls: Number.POSITIVE_INFINITY, sigma: 0, systemTokens, rng: createRng(3) })
  return instanceCallsPerS(profile, () => {
    const call = calls.next()
    if (!call) throw new Error('the mix came to an end')
    return { promptTokens: call.promptTokens, outputTokens: call.predictedTokens, blockHashes: call.blockHashes }
  })
}
