import type { PoolConfig } from './config.ts'
import type { HoldConfig } from './config-hold.ts'
import type { HoldQueueOptions } from './hold/hold-queue-options.ts'
import { HOLD_RULE_DEFAULTS } from './hold/hold-rules.ts'
import type { LearnedModel } from './placement/learned-model.ts'
import type { HoldSetting } from './router-hold.ts'
import type { RouterPool } from './router-pools.ts'
import { PROFILES } from './simulation/profiles.ts'

/** A configured pool as the router takes it; `model` is what `learned` decides by. */
export function routerPool(pool: PoolConfig, model?: LearnedModel): RouterPool {
  const named = new Map(pool.instances.map((one) => [one.name, one.profile]))
  return {
    name: pool.name,
    models: pool.models,
    aliases: pool.aliases,
    adapters: pool.adapters,
    policy: pool.policy,
    mode: pool.mode,
    shareRatio: pool.share,
    weights: pool.weights,
    model,
    fallbackPolicy: pool.fallbackPolicy,
    explorationRatio: pool.exploration,
    requestUsage: pool.requestUsage,
    virtual: pool.engine === 'virtual',
    hold: holdSetting(pool.hold),
    enginePriority: pool.enginePriority,
    profileOf: ({ name }) => PROFILES.get(named.get(name) ?? pool.profile ?? ''),
  }
}

/** The option as the queue takes it; undefined where nothing is to be held. */
export function holdSetting(hold: HoldConfig): HoldSetting | undefined {
  const { order, waitingMax, reserve, agePerSecond } = hold
  if (order === 'off') return undefined
  const known = order === 'auto' ? HOLD_RULE_DEFAULTS.order : order
  return {
    when: order === 'auto' ? 'capacity known' : 'always',
    rule: {
      order: known,
      waitingMax: waitingMax ?? HOLD_RULE_DEFAULTS.waitingMax,
      reserveRatio: reserve ?? HOLD_RULE_DEFAULTS.reserveRatio,
      agePerSecond: agePerSecond ?? HOLD_RULE_DEFAULTS.agePerSecond,
      readyOnly: HOLD_RULE_DEFAULTS.readyOnly,
    },
    queue: queueOptions(hold),
  }
}

function queueOptions({ maxMs, maxCalls, fairFloor }: HoldConfig): Partial<HoldQueueOptions> {
  return {
    ...(maxMs === undefined ? {} : { heldMsMax: maxMs }),
    ...(maxCalls === undefined ? {} : { seatsMax: maxCalls }),
    ...(fairFloor === undefined ? {} : { fairFloorRatio: fairFloor }),
  }
}
