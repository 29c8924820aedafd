import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type EngineShape, scaleLaw } from '../impact/engine-shape.ts'
import { createRng, type Rng } from '../rng.ts'
import type { FleetEvent, MachineSpec } from '../simulation/fleet/machine.ts'
import type { TwinCall } from '../simulation/fleet/twin-call.ts'
import { profileNamed } from '../simulation/profiles.ts'
import { instanceCallsPerS } from '../simulation/saturation.ts'
import { generateCalls } from '../simulation/scenario/generated.ts'
import type { Mix } from '../simulation/scenario/mixes.ts'
import { sameMachines } from '../simulation/scenario/scenarios.ts'
import { halfOf, resampleBlocks, traceCalls } from '../simulation/scenario/trace-calls.ts'
import { capacityOf } from '../simulation/scenario/trace-scenarios.ts'
import { readTrace, type TraceCall } from '../simulation/traces.ts'
import {
  FAMILIES,
  type Family,
  familyPlan,
  inRotation,
  MIXES,
  OWN_MIX,
  ownPlan,
  type TaskPlan,
  WILD_RATIO,
  wildPlan,
} from './policy-tasks.ts'

/** A task ready to be played. */
export interface Task {
  readonly plan: TaskPlan
  readonly fleet: readonly MachineSpec[]
  readonly calls: readonly TwinCall[]
  readonly script?: readonly FleetEvent[]
  readonly believes?: (name: string) => EngineShape
}

/** Traces by the name of the mix that draws on them, below the data folder. Their first half trains. */
export const TRAINING_TRACES: Readonly<Record<string, string>> = {
  'azure-chat': 'azure/AzureLLMInferenceTrace_conv.first1800s.csv',
  'azure-code': 'azure/AzureLLMInferenceTrace_code.first1800s.csv',
  mooncake: 'mooncake/conversation_trace.first1800s.jsonl',
}

/** Where tasks are drawn from: generated traffic of every kind and, where the folder is there, recorded traces; or one fleet's own traffic. */
export type DomainSpec =
  | { readonly kind: 'broad'; readonly dataDir?: string }
  | { readonly kind: 'own'; readonly fleet: readonly MachineSpec[]; readonly calls: readonly TraceCall[]; readonly windowMs?: number }

/** Of a fleet's own tasks so many are of fleets and traffic from anywhere, so that a search cannot learn last night by heart. Chosen. */
const OTHERS_RATIO = 1 / 3

/** A domain with its traces read. */
export class Domain {
  readonly spec: DomainSpec
  readonly #traces: ReadonlyMap<string, readonly TraceCall[]>
  readonly #capacities = new Map<string, number>()

  private constructor(spec: DomainSpec, traces: ReadonlyMap<string, readonly TraceCall[]>) {
    this.spec = spec
    this.#traces = traces
  }

  static async open(spec: DomainSpec): Promise<Domain> {
    const traces = new Map<string, readonly TraceCall[]>()
    if (spec.kind === 'broad')
      for (const [name, file] of Object.entries(TRAINING_TRACES)) {
        const path = spec.dataDir && join(spec.dataDir, file)
        if (path && existsSync(path)) traces.set(name, halfOf(await readTrace(path), 'first'))
      }
    return new Domain(spec, traces)
  }

  /** Traces that are there. */
  get traces(): readonly string[] {
    return [...this.#traces.keys()]
  }

  /** The tasks of one generation: the families in turn, and some from anywhere. The same dice give the same tasks. */
  plan(given: { readonly tasks: number; readonly round: number; readonly rng: Rng }): TaskPlan[] {
    const { tasks, round, rng } = given
    if (this.spec.kind === 'own') {
      const others = Math.round(tasks * OTHERS_RATIO)
      return Array.from({ length: tasks }, (_, i) => (i < others ? wildPlan(rng) : ownPlan(rng)))
    }
    const families = inRotation(FAMILIES.filter(({ mix }) => MIXES[mix] !== undefined || this.#traces.has(mix)))
    const wild = Math.round(tasks * WILD_RATIO)
    return Array.from({ length: tasks }, (_, i) => {
      if (i < wild) return wildPlan(rng)
      return familyPlan(families[(round * (tasks - wild) + i - wild) % families.length] as Family, rng)
    })
  }

  /** Makes the fleet and draws the calls. */
  open(plan: TaskPlan): Task {
    if (this.spec.kind === 'own' && plan.mix === OWN_MIX) return this.#openOwn(plan, this.spec)
    const fleet = plan.machines.flatMap(({ profile, count, speed }, k) =>
      sameMachines(profile, count, `${'abcdefgh'[k]}`).map((one) => ({ ...one, speed })),
    )
    const callsPerS = plan.callsPerS ?? plan.load * this.#capacity(fleet, plan.mix)
    const calls = this.#draw(plan, callsPerS)
    const lastMs = calls.at(-1)?.atMs ?? 0
    return {
      plan,
      fleet,
      calls,
      ...(plan.fails ? { script: failuresIn(fleet, lastMs) } : {}),
      ...believing(plan, fleet),
    }
  }

  #draw(plan: TaskPlan, callsPerS: number): readonly TwinCall[] {
    const rng = createRng(plan.seed)
    const mix = MIXES[plan.mix]
    if (!mix) {
      const trace = this.#traces.get(plan.mix) as readonly TraceCall[]
      const durationS = (trace.at(-1)?.atMs ?? 1) / 1_000
      const speed = (callsPerS * durationS) / trace.length
      return traceCalls(resampleBlocks(trace, rng).slice(0, plan.calls), { speed, sigma: plan.sigma, rng })
    }
    const { calls: count, sigma, arrivalCv, systemTokens } = plan
    const stream = generateCalls({
      mix,
      callsPerS,
      calls: count,
      sigma,
      rng,
      ...(arrivalCv === undefined ? {} : { arrivalCv }),
      ...(systemTokens === undefined ? {} : { systemTokens }),
    })
    const calls: TwinCall[] = []
    for (let call = stream.next(); call; call = stream.next()) calls.push(call)
    return calls
  }

  #openOwn(plan: TaskPlan, spec: Extract<DomainSpec, { kind: 'own' }>): Task {
    const rng = createRng(plan.seed)
    const drawn = resampleBlocks(spec.calls, rng).slice(0, plan.calls)
    const calls = traceCalls(drawn, { speed: plan.load, sigma: plan.sigma, rng })
    return { plan, fleet: spec.fleet, calls, ...believing(plan, spec.fleet) }
  }

  #capacity(fleet: readonly MachineSpec[], mixName: string): number {
    const mix = MIXES[mixName]
    const key = `${mixName} ${fleet.map((one) => one.profile.name).join(' ')}`
    const known = this.#capacities.get(key)
    if (known !== undefined) return known
    const capacity = mix
      ? fleet.reduce((sum, one) => sum + this.#instanceCapacity(one, mixName, mix), 0)
      : capacityOf(fleet, this.#traces.get(mixName) as readonly TraceCall[])
    this.#capacities.set(key, capacity)
    return capacity
  }

  #instanceCapacity({ profile }: MachineSpec, mixName: string, mix: Mix): number {
    const key = `one ${mixName} ${profile.name}`
    const known = this.#capacities.get(key) ?? instanceCallsPerS(profile, mix)
    this.#capacities.set(key, known)
    return known
  }
}

/** In the middle third the second instance is dead for a while, and the third slow for longer. */
function failuresIn(fleet: readonly MachineSpec[], lastMs: number): FleetEvent[] {
  const [dead, slow] = [fleet[1]?.name as string, fleet[2]?.name as string]
  return [
    { atMs: 0.3 * lastMs, instance: dead, what: 'die' },
    { atMs: 0.5 * lastMs, instance: dead, what: 'recover' },
    { atMs: 0.4 * lastMs, instance: slow, what: 'slow', factor: 3 },
    { atMs: 0.7 * lastMs, instance: slow, what: 'slow', factor: 1 },
  ]
}

function believing({ believedFactor }: TaskPlan, fleet: readonly MachineSpec[]): Pick<Task, 'believes'> {
  if (believedFactor === undefined) return {}
  const shapes = new Map(fleet.map(({ name, profile }) => [name, { ...profile, law: scaleLaw(profile.law, believedFactor) }]))
  return { believes: (name) => shapes.get(name) ?? profileNamed('a100-8b') }
}
