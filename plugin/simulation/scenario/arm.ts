import type { InstanceView } from '../../fleet/instance.ts'
import { HoldQueue } from '../../hold/hold-queue.ts'
import { createHoldRule, HOLD_ORDERS, type HoldOrder } from '../../hold/hold-rules.ts'
import { createTwinPolicy } from '../../placement/policies.ts'
import type { Policy } from '../../placement/policy.ts'
import { createRng } from '../../rng.ts'
import type { HeldSlot } from '../fleet/call-table.ts'
import { Simulation } from '../fleet/simulation.ts'
import type { SimulationOptions } from '../fleet/simulation-options.ts'
import { streamOf, type TwinCall } from '../fleet/twin-call.ts'
import type { Scenario } from './scenarios.ts'
import { type Score, ScoreSheet } from './score.ts'

/** What is compared: a policy, alone, behind a hold queue, or before engines that are sent the same order as a priority. */
export interface Arm {
  readonly policy: string
  readonly hold?: HoldOrder
  readonly enginePriority?: true
}

/** How the arm is written whose engines do the ordering. */
const ENGINE_PRIORITY = 'engine-priority'

/** Circumstances of a run besides the scenario's own. */
export interface Circumstances extends Pick<SimulationOptions, 'routers' | 'scrapeMs' | 'decisionMs' | 'networkMs' | 'predictor'> {}

/** "least-kv", "least-kv + kv-time" or "least-kv + engine-priority" as an arm. Throws on an unknown order of holding. */
export function parseArm(text: string): Arm {
  const [policy = '', hold] = text.split('+').map((part) => part.trim())
  if (hold === undefined) return { policy }
  if (hold === ENGINE_PRIORITY) return { policy, enginePriority: true }
  const order = HOLD_ORDERS.find((one) => one === hold)
  if (!order) throw new Error(`${JSON.stringify(hold)} is no order of holding; there are ${[...HOLD_ORDERS, ENGINE_PRIORITY].join(', ')}`)
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
  const { scenario, calls, seed, ...circumstances } = given
  const sheet = new ScoreSheet(scenario.fleet.length)
  const shapes = new Map(scenario.fleet.map((one) => [one.name, one.profile]))
  const policies = new Map<number, Policy>()
  const policyOf = (router: number): Policy => {
    const known = policies.get(router)
    if (known) return known
    const made = createTwinPolicy(arm.policy, { profileOf: (instance: InstanceView) => shapes.get(instance.name) })
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
    ...holdOf(arm, policyOf(0)),
    rng: createRng(seed).stream('policy'),
    onEnd: (end) => sheet.add(end),
    ...(scenario.script ? { script: scenario.script } : {}),
    ...(scenario.clientRetries ? { clientRetries: scenario.clientRetries } : {}),
  })
  return sheet.score(simulation.run())
}

/** A hold queue per router: the arm's own, or the one that the policy itself brings. */
export function holdOf(arm: Arm, policy: Policy): Pick<SimulationOptions, 'hold'> {
  const create = arm.hold === undefined ? undefined : () => createHoldRule({ order: arm.hold as HoldOrder })
  const rule =
    create ?? (policy.hold ? () => createHoldRule({ order: 'fcfs', reserveRatio: undefined, readyOnly: true, ...policy.hold }) : undefined)
  return rule ? { hold: () => new HoldQueue<HeldSlot>({ rule: rule() }) } : {}
}

function defined(circumstances: Circumstances): Circumstances {
  return Object.fromEntries(Object.entries(circumstances).filter(([, value]) => value !== undefined))
}
