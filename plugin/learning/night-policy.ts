import type { Clock } from '../clock.ts'
import type { LearnedModel } from '../placement/learned-model.ts'
import type { MachineSpec } from '../simulation/fleet/machine.ts'
import type { ServedCall } from '../simulation/log-replay/traffic.ts'
import { TASKS, type TaskName } from '../simulation/tasks.ts'
import type { TraceCall } from '../simulation/traces.ts'
import type { NightDesk } from './night-desk.ts'
import { POLICY_MODEL_FILE } from './policy-folder.ts'
import { encodePolicy } from './policy-net.ts'
import type { Objective } from './policy-objective.ts'
import type { SearchState } from './policy-search.ts'
import { type PolicyProgress, type TrainedPolicy, trainPolicy } from './policy-train.ts'
import { type ModelFiles, versionOf } from './registry.ts'

/** Size of one generation of a night: half of the shipped model's, since it goes on from a trained one and knows its fleet. */
export const NIGHT_SEARCH = { population: 24, tasks: 6, averagedGenerations: 10, validationTasks: 12 } as const

/** Where the search is, for the trainer that takes the run up again. */
const SEARCH_FILE = 'policy-search.json'

export interface NightPolicy {
  readonly model: LearnedModel
  readonly files: ModelFiles
  /** Generations that were searched: with seed and log they make the same model again. */
  readonly generations: number
  readonly history: readonly PolicyProgress[]
  readonly validation: TrainedPolicy['validation']
}

export interface NightPolicyParts {
  readonly desk: NightDesk
  readonly clock: Clock
  /** The calibrated fleet and its own calls. */
  readonly fleet: readonly MachineSpec[]
  readonly calls: readonly ServedCall[]
  readonly champion: LearnedModel
  readonly seed: number
  /** What is searched for. */
  readonly objective: Objective
  /** How long: so many generations, or as many as fit into the minutes. */
  readonly length: { readonly generations: number } | { readonly minutes: number }
}

/** Searches a challenger on the twin of the fleet, from the champion on. */
export async function trainNightPolicy(parts: NightPolicyParts): Promise<NightPolicy> {
  const { desk, champion, seed, objective } = parts
  const domain = { kind: 'own', fleet: parts.fleet, calls: traceOf(parts.calls) } as const
  const kept = desk.kept<{ readonly generations: number; readonly state: SearchState }>(SEARCH_FILE)
  const generations =
    kept?.generations ??
    ('generations' in parts.length ? parts.length.generations : await generationsIn(parts.length.minutes, parts, domain))
  if (kept) desk.say(`the search goes on after generation ${kept.state.generation} of ${generations}`)
  const trained = await trainPolicy({
    domain,
    seed,
    champion,
    objective,
    workers: 0,
    plan: { ...NIGHT_SEARCH, generations },
    signal: desk.signal,
    resume: kept?.state,
    checkpoint: (state) => desk.keep(SEARCH_FILE, { generations, state }),
    told: ({ generation, centreLoss, bestLoss }) => {
      desk.progress('policy', generation / generations)
      desk.plot([
        { curve: `policy: ln of ${objective.kind === 'slo' ? 'calls late' : 'mean E2E'} over least-request`, x: generation, y: centreLoss },
        { curve: 'policy: best candidate', x: generation, y: bestLoss },
      ])
    },
  })
  const files = (model: LearnedModel): ModelFiles => new Map([[POLICY_MODEL_FILE, encodePolicy(model.parameters)]])
  const model = { ...trained.model, version: versionOf('policy', files(trained.model)) }
  return { model, files: files(model), generations, history: trained.history, validation: trained.validation }
}

/** How many generations the time is enough for, by the time that the first two take. */
async function generationsIn(
  minutes: number,
  { desk, clock, champion, seed, objective }: NightPolicyParts,
  domain: Parameters<typeof trainPolicy>[0]['domain'],
): Promise<number> {
  const beganMs = clock.nowMs()
  await trainPolicy({
    domain,
    seed,
    champion,
    objective,
    workers: 0,
    plan: { ...NIGHT_SEARCH, generations: 2, validationTasks: 0 },
    signal: desk.signal,
  })
  const eachMs = (clock.nowMs() - beganMs) / 2
  const generations = Math.max(2, Math.floor((minutes * 60_000) / eachMs))
  desk.say(
    `${minutes} minutes are ${generations} generations of ${(eachMs / 1_000).toFixed(1)} s here; --generations ${generations} makes the same model again`,
  )
  return generations
}

/** Prefix blocks of the router (256 bytes, 64 tokens) in one of a trace's ids (512 tokens). */
const BLOCKS_PER_ID = 8
/** Length taken of an answer that neither came whole nor was predicted. */
const UNKNOWN_OUTPUT_TOKENS = 200

/** Stored calls as a trace, from 0 on. */
export function traceOf(calls: readonly ServedCall[]): TraceCall[] {
  const startUnixMs = calls[0]?.arrivedUnixMs ?? 0
  return calls.map((call) => {
    const { prefixBlocks } = call
    const ids = Array.from(
      { length: Math.floor(prefixBlocks.length / BLOCKS_PER_ID) },
      (_, i) => prefixBlocks[(i + 1) * BLOCKS_PER_ID - 1] as number,
    )
    const whole = call.outcome === 'completed' ? call.outputTokens : null
    const outputTokens = whole ?? Math.max(call.outputTokens ?? 1, call.predictedOutputTokens ?? UNKNOWN_OUTPUT_TOKENS)
    return {
      atMs: Math.max(0, call.arrivedUnixMs - startUnixMs),
      promptTokens: Math.max(1, Math.round(call.promptTokens)),
      outputTokens: Math.max(1, Math.round(outputTokens)),
      application: call.application,
      ...(isTask(call.task) ? { task: call.task } : {}),
      ...(ids.length > 0 ? { hashIds: ids } : {}),
    }
  })
}

function isTask(task: string | null): task is TaskName {
  return TASKS.some(({ name }) => name === task)
}
