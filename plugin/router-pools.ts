import type { InstanceView } from './fleet/instance.ts'
import { createLearnedRule } from './hold/learned-rule.ts'
import type { EngineShape } from './impact/engine-shape.ts'
import type { PoolPolicies } from './placement/choose.ts'
import { createAbsent, createGuarded } from './placement/guarded.ts'
import type { LearnedModel } from './placement/learned-model.ts'
import { createObserved } from './placement/observed.ts'
import { createPolicy, createShapeOf, LEARNED } from './placement/policies.ts'
import type { Policy } from './placement/policy.ts'
import type { Weights } from './placement/weighted.ts'
import type { PoolFacts } from './router.ts'
import { type ArmBase, type ArmPolicy, PoolArms } from './router-arms.ts'
import { createRuleOf, type HoldParts, type HoldSetting, PoolHold } from './router-hold.ts'

/** What the router must know of a pool. */
export interface RouterPool {
  readonly name: string
  readonly models: readonly string[]
  /** Name callers use → model name that the instances know. */
  readonly aliases: Readonly<Record<string, string>>
  readonly adapters: readonly string[]
  readonly policy: string
  /** How far the policy is obeyed; 'on' where absent. */
  readonly mode?: 'off' | 'observe' | 'share' | 'on' | undefined
  /** In mode share: the share of calls that the policy places. */
  readonly shareRatio?: number | undefined
  readonly weights?: { readonly [key in keyof Weights]?: number | undefined } | undefined
  readonly fallbackPolicy: string
  readonly explorationRatio: number
  readonly requestUsage: boolean
  readonly virtual: boolean
  /** What `learned` decides by; absent: every decision is the fallback policy's. Throws ModelRefused when it is for other features. */
  readonly model?: LearnedModel | undefined
  /** How calls are held; absent: they are not, unless the policy demands it. */
  readonly hold?: HoldSetting | undefined
  /** The engine orders by priority: the order is sent with each call, and nothing is held. */
  readonly enginePriority?: boolean | undefined
  /** The engine's shape by instance, where its profile is known. */
  readonly profileOf?: ((instance: InstanceView) => EngineShape | undefined) | undefined
}

/** One pool with what decides and holds for it. */
export interface ServedPool {
  readonly arms: PoolArms
  readonly pool: RouterPool
  /** What decides now, challengers left out. */
  readonly policies: PoolPolicies
  /** What decides while Phasewise is switched off: the fallback policy alone, and nothing explored. */
  readonly plain: PoolPolicies
  /** Undefined while nothing is held. */
  readonly hold: PoolHold | undefined
  /**
   * Changed settings count from the next call on (see `configurePool`), holding too: who waits where nothing is held any more starts at once. Throws on an
   * unknown policy name, and then changes nothing.
   */
  configure(wanted: RouterPool): void
}

/** What one model name leads to. */
export interface Served {
  readonly at: ServedPool
  readonly facts: PoolFacts
  readonly adapter?: string
}

type Holding = Omit<HoldParts, 'pool' | 'setting'> & { readonly nowMs: () => number }

/** Every pool ready to serve, and every model name, adapter and alias with what it leads to. Throws on an unknown policy name. */
export function servePools(
  pools: readonly RouterPool[],
  holding: Holding,
): { readonly pools: readonly ServedPool[]; readonly names: ReadonlyMap<string, Served> } {
  const names = new Map<string, Served>()
  const served = pools.map((pool) => {
    const at = servePool(pool, holding)
    const facts = (upstreamModel: string): PoolFacts => ({
      name: pool.name,
      upstreamModel,
      requestUsage: pool.requestUsage,
      virtual: pool.virtual,
    })
    for (const model of pool.models) names.set(model, { at, facts: facts(model) })
    for (const adapter of pool.adapters) names.set(adapter, { at, facts: facts(adapter), adapter })
    for (const [alias, model] of Object.entries(pool.aliases))
      names.set(alias, { at, facts: facts(model), ...(pool.adapters.includes(model) ? { adapter: model } : {}) })
    return at
  })
  return { pools: served, names }
}

function servePool(pool: RouterPool, { nowMs, ...holding }: Holding): ServedPool {
  let setting = holdOf(pool, nowMs)
  const open = (wanted: HoldSetting): PoolHold => new PoolHold({ ...holding, pool: pool.name, setting: wanted })
  let hold = setting && open(setting)
  const deciding = { count: holding.count, nowMs }
  const arms = new PoolArms({
    base: { pool, ...decidersOf(pool, deciding) },
    decidersOf: (own, policy) => decidersOf(own, deciding, policy).policies,
    ruleOf: () => {
      const now = setting
      return now && (() => createRuleOf(now))
    },
    takeRule: (rule) => hold?.takeRule(rule),
  })
  const holdBy = (wanted: HoldSetting | undefined): void => {
    setting = wanted
    if (wanted === undefined) {
      hold?.suspend(true, nowMs())
      hold = undefined
    } else if (hold === undefined) hold = open(wanted)
    else hold.configure(wanted, nowMs())
  }
  return {
    arms,
    get pool() {
      return arms.base.pool
    },
    get policies() {
      return arms.champion
    },
    get plain() {
      return arms.base.plain
    },
    get hold() {
      return hold
    },
    configure(wanted) {
      arms.configure((base) => {
        configurePool(base, wanted, deciding)
        holdBy(holdOf(base.pool, nowMs))
      })
    },
  }
}

/** How the pool's calls are held; undefined where they are not. */
function holdOf(pool: RouterPool, nowMs: () => number): HoldSetting | undefined {
  const { hold: demanded } = policyOf(pool, nowMs)
  if (demanded) return demandedHold(demanded, pool.hold)
  return pool.enginePriority ? undefined : ownHold(pool)
}

/** What a policy model brings for a pool: guarded, since what a rule cannot do wrong, a model may. Where the operator left the order to us it holds as it has learned to. */
export function learnedArm(model: LearnedModel, nowMs: () => number): (pool: RouterPool) => ArmPolicy {
  return ({ profileOf, hold }) => {
    const policy = createGuarded({ policy: createPolicy(LEARNED, { profileOf, model }), nowMs })
    if (hold?.when !== 'capacity known') return { policy }
    return { policy, createRule: () => createLearnedRule({ model, shapeOf: createShapeOf({ profileOf }) }) }
  }
}

/** What deciding for a pool needs besides the pool. */
interface Deciding {
  readonly count: (what: string) => void
  readonly nowMs: () => number
}

/** The pool's policies as its mode obeys them, and those of a pool that is off. */
function decidersOf(pool: RouterPool, { count, nowMs }: Deciding, policy = policyOf(pool, nowMs)): Pick<ArmBase, 'policies' | 'plain'> {
  const { mode = 'on', shareRatio = 0, explorationRatio, profileOf } = pool
  const fallbackPolicy = createPolicy(pool.fallbackPolicy, { profileOf })
  const plain = { policy: fallbackPolicy, fallbackPolicy, explorationRatio: 0 }
  if (mode === 'off') return { policies: plain, plain }
  if (mode === 'observe')
    return { policies: { ...plain, policy: createObserved({ obeyed: fallbackPolicy, observed: policy, count }) }, plain }
  return { policies: { policy, fallbackPolicy, explorationRatio, ...(mode === 'share' ? { shareRatio } : {}) }, plain }
}

/**
 * Lets changed settings of a pool count from the next call on: policies, weights, exploration and mode. A policy that stays the same keeps what it has
 * learned; names and instances stay as they were started. Throws on an unknown policy name, and then changes nothing.
 */
function configurePool(at: ArmBase, wanted: RouterPool, deciding: Deciding): void {
  const pool = { ...wanted, model: wanted.model ?? at.pool.model }
  const rules = ({ policy, fallbackPolicy, mode, weights }: RouterPool): string => JSON.stringify([policy, fallbackPolicy, mode, weights])
  if (rules(pool) === rules(at.pool)) {
    const { shareRatio, ...rest } = at.policies
    const explores = rest.policy !== at.plain.policy && pool.mode !== 'observe'
    at.policies = {
      ...rest,
      explorationRatio: explores ? pool.explorationRatio : 0,
      ...(shareRatio === undefined || pool.shareRatio === undefined ? {} : { shareRatio: pool.shareRatio }),
    }
  } else Object.assign(at, decidersOf(pool, deciding))
  at.pool = pool
}

/** A learned policy is guarded: what a rule cannot do wrong, a model may. */
function policyOf({ policy: name, weights, profileOf, model }: RouterPool, nowMs: () => number): Policy {
  if (name !== LEARNED) return createPolicy(name, { weights, profileOf })
  return model ? createGuarded({ policy: createPolicy(name, { profileOf, model }), nowMs }) : createAbsent(name)
}

/** Where the operator left the order to us, a learned policy holds as it has learned to. */
function ownHold({ policy, hold, model, profileOf }: RouterPool): HoldSetting | undefined {
  if (policy !== LEARNED || !model || hold?.when !== 'capacity known') return hold
  return { ...hold, createRule: () => createLearnedRule({ model, shapeOf: createShapeOf({ profileOf }) }) }
}

/** A policy that holds by itself says when; how many and how long stays the operator's. */
function demandedHold(demanded: { readonly waitingMax: number }, setting: HoldSetting | undefined): HoldSetting {
  return {
    when: 'always',
    rule: { order: 'fcfs', waitingMax: demanded.waitingMax, reserveRatio: undefined, agePerSecond: 0, readyOnly: true },
    ...(setting ? { queue: setting.queue } : {}),
  }
}
