import type { InstanceView } from '../../fleet/instance.ts'
import { HoldQueue } from '../../hold/hold-queue.ts'
import { createHoldRule, HOLD_ORDERS, type HoldOrder } from '../../hold/hold-rules.ts'
import { createLearnedRule } from '../../hold/learned-rule.ts'
import type { HoldRule } from '../../hold/rule.ts'
import type { EngineShape } from '../../impact/engine-shape.ts'
import type { LearnedModel } from '../../placement/learned-model.ts'
import { createPolicy, createShapeOf, createTwinPolicy, LEARNED, type PolicyParts } from '../../placement/policies.ts'
import type { Policy } from '../../placement/policy.ts'
import { createRng } from '../../rng.ts'
import type { HeldSlot } from '../fleet/call-table.ts'
import { Simulation } from '../fleet/simulation.ts'
import type { CallEnd, SimulationOptions } from '../fleet/simulation-options.ts'
import { streamOf, type TwinCall } from '../fleet/twin-call.ts'
import type { Scenario } from './scenarios.ts'
import { type Limits, type Score, ScoreSheet } from './score.ts'

/**
 * What is compared: a policy, alone, behind a hold queue, or before engines that are sent the same order as a priority. `learned` brings its own hold, which
 * 'off' takes away.
 */
export interface Arm {
  readonly policy: string
  readonly hold?: HoldOrder | 'off'
  readonly enginePriority?: true
}

/** How the arm is written whose engines do the ordering. */
const ENGINE_PRIORITY = 'engine-priority'

/** Circumstances of a run besides the scenario's own. */
export interface Circumstances
  extends Pick<SimulationOptions, 'routers' | 'scrapeMs' | 'decisionMs' | 'networkMs' | 'predictor' | 'script'> {
  /** What `learned` decides by. */
  readonly model?: LearnedModel
  /** Told of each call that is over, as the score is. */
  readonly onEnd?: (end: CallEnd) => void
  /** What counts as served in time; `LIMITS` by default. */
  readonly limits?: Limits
  /** What the policy believes of an instance's engine; its own profile by default. */
  readonly believes?: (name: string) => EngineShape
  /** Every second router is another gateway's, deciding by this rule and holding nothing; its calls are not counted. Two routers then. */
  readonly foreignPolicy?: string
}

/** "least-kv", "least-kv + kv-time" or "least-kv + engine-priority" as an arm. Throws on an unknown order of holding. */
export function parseArm(text: string): Arm {
  const [policy = '', hold] = text.split('+').map((part) => part.trim())
  if (hold === undefined) return { policy }
  if (hold === ENGINE_PRIORITY) return { policy, enginePriority: true }
  if (hold === 'off') return { policy, hold }
  const order = HOLD_ORDERS.find((one) => one === hold)
  if (!order)
    throw new Error(`${JSON.stringify(hold)} is no order of holding; there are ${[...HOLD_ORDERS, ENGINE_PRIORITY, 'off'].join(', ')}`)
  return { policy, hold: order }
}

/** The arm as it is written. */
export function nameOf({ policy, hold, enginePriority }: Arm): string {
  const order = enginePriority ? ENGINE_PRIORITY : hold
  return order === undefined ? policy : `${policy} + ${order}`
}

/** Plays one seed's calls under an arm. The same arguments give the same score (I6). */
export function playArm(
  arm: Arm,
  given: { readonly scenario: Scenario; readonly calls: readonly TwinCall[]; readonly seed: number } & Circumstances,
): Score {
  const { scenario, calls, seed, model, believes, foreignPolicy, onEnd, limits, ...circumstances } = given
  const isForeign = (router: number): boolean => foreignPolicy !== undefined && router % 2 === 1
  const sheet = new ScoreSheet(scenario.fleet.length, limits)
  const shapes = new Map<string, EngineShape>(scenario.fleet.map(({ name, profile }) => [name, believes?.(name) ?? profile]))
  const parts = { profileOf: (instance: InstanceView) => shapes.get(instance.name), model }
  const policies = new Map<number, Policy>()
  const policyOf = (router: number): Policy => {
    const known = policies.get(router)
    if (known) return known
    const made = isForeign(router) ? createPolicy(foreignPolicy as string, parts) : createTwinPolicy(arm.policy, parts)
    policies.set(router, made)
    return made
  }
  const simulation = new Simulation({
    ...defined(circumstances),
    fleet: arm.enginePriority ? scenario.fleet.map((one) => ({ ...one, scheduling: 'priority' })) : scenario.fleet,
    ...(arm.enginePriority ? { enginePriority: true } : {}),
    calls: streamOf(calls),
    policy: policyOf,
    policyName: arm.policy,
    ...(foreignPolicy === undefined ? {} : { routers: 2 }),
    ...holdOf(arm, policyOf(0), { ...parts, isForeign }),
    rng: createRng(seed).stream('policy'),
    onEnd: (end) => {
      if (isForeign(end.router)) return
      sheet.add(end)
      onEnd?.(end)
    },
    ...(scenario.script ? { script: scenario.script } : {}),
    ...(scenario.clientRetries ? { clientRetries: scenario.clientRetries } : {}),
  })
  return sheet.score(simulation.run())
}

/** A hold queue per router: the arm's own, or the one that the policy itself brings. */
export function holdOf(
  arm: Arm,
  policy: Policy,
  parts: PolicyParts & { readonly isForeign?: (router: number) => boolean },
): Pick<SimulationOptions, 'hold'> {
  const rule = ruleOf(arm, policy, parts)
  return rule ? { hold: (router) => new HoldQueue<HeldSlot>({ rule: parts.isForeign?.(router) ? createOpenRule() : rule() }) } : {}
}

/** Holds nobody. */
function createOpenRule(): HoldRule {
  return createHoldRule({ order: 'fcfs', waitingMax: Number.POSITIVE_INFINITY, reserveRatio: undefined })
}

function ruleOf({ hold, policy: name }: Arm, policy: Policy, parts: PolicyParts): (() => HoldRule) | undefined {
  if (hold === 'off') return undefined
  if (hold) return () => createHoldRule({ order: hold })
  const { model } = parts
  if (name === LEARNED && model) return () => createLearnedRule({ model, shapeOf: createShapeOf(parts) })
  const demanded = policy.hold
  return demanded && (() => createHoldRule({ order: 'fcfs', reserveRatio: undefined, readyOnly: true, ...demanded }))
}

function defined(circumstances: Circumstances): Circumstances {
  return Object.fromEntries(Object.entries(circumstances).filter(([, value]) => value !== undefined))
}
