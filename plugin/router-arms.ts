import type { Call } from './call/call.ts'
import type { HoldRule } from './hold/rule.ts'
import type { PoolPolicies } from './placement/choose.ts'
import type { Policy } from './placement/policy.ts'
import { Circuit } from './prediction/circuit.ts'
import type { LengthPrediction, LengthPredictor } from './prediction/length-predictor.ts'
import type { RouterPool } from './router-pools.ts'

/** What a learned policy brings for one pool: where calls go, and, where it has learned that too, when and in which order. */
export interface ArmPolicy {
  readonly policy: Policy
  readonly createRule?: () => HoldRule
}

/** What decides in one arm; everything absent is as the pool's configuration and the shipped models have it. */
export interface ArmModels {
  readonly policyOf?: (pool: RouterPool) => ArmPolicy
  readonly lengths?: LengthPredictor
}

/** A pool as its settings have it; renewed where they change. */
export interface ArmBase {
  pool: RouterPool
  policies: PoolPolicies
  /** What decides while Phasewise is switched off. */
  plain: PoolPolicies
}

/** What decides for one pool, and what would while a challenger is tried: changed between two calls. */
export class PoolArms {
  /** Without any promoted model. */
  readonly base: ArmBase
  readonly #decidersOf: (pool: RouterPool, policy: Policy) => PoolPolicies
  readonly #ruleOf: () => (() => HoldRule) | undefined
  readonly #takeRule: (rule: HoldRule) => void
  #models: ArmModels = {}
  #tried: ArmModels | undefined
  #champion: Side
  #challenger: Side | undefined
  #ruling: Side

  constructor(parts: {
    readonly base: ArmBase
    /** What decides where this policy takes the configured one's place, as the pool's mode obeys it. */
    readonly decidersOf: (pool: RouterPool, policy: Policy) => PoolPolicies
    /** As configured now; undefined while nothing is held. */
    readonly ruleOf: () => (() => HoldRule) | undefined
    /** The pool's queue holds by this rule from now on. */
    readonly takeRule: (rule: HoldRule) => void
  }) {
    this.base = parts.base
    this.#decidersOf = parts.decidersOf
    this.#ruleOf = parts.ruleOf
    this.#takeRule = parts.takeRule
    this.#champion = this.#sideOf({})
    this.#ruling = this.#champion
  }

  get champion(): PoolPolicies {
    return this.#champion.policies
  }

  get challenger(): PoolPolicies | undefined {
    return this.#challenger?.policies
  }

  /** Who serves outside challengers' blocks. Throws what making the policy throws; then nothing has changed. */
  serve(models: ArmModels): void {
    const next = this.#sideOf(models)
    const ruled = this.#ruling === this.#champion
    this.#models = models
    this.#champion = next
    if (ruled) this.#rule(next)
  }

  /** Who is tried; nobody where absent. */
  challenge(models: ArmModels | undefined): void {
    this.#challenger = models && this.#sideOf(models)
    this.#tried = models
    this.follow('control')
  }

  /** The arm of the block that begins: the queue holds by its rule. */
  follow(arm: 'control' | 'challenger'): void {
    const side = arm === 'challenger' && this.#challenger ? this.#challenger : this.#champion
    if (side !== this.#ruling) this.#rule(side)
  }

  /** Settings of the pool have changed; both arms follow. Throws what `change` throws. */
  configure(change: (base: ArmBase) => void): void {
    change(this.base)
    this.serve(this.#models)
    if (this.#tried) this.challenge(this.#tried)
  }

  #rule(side: Side): void {
    this.#ruling = side
    if (side.createRule) this.#takeRule(side.createRule())
  }

  #sideOf({ policyOf }: ArmModels): Side {
    const { pool, policies } = this.base
    const configured = this.#ruleOf()
    if (!policyOf) return { policies, createRule: configured }
    const { policy, createRule } = policyOf(pool)
    return { policies: this.#decidersOf(pool, policy), createRule: configured && (createRule ?? configured) }
  }
}

interface Side {
  readonly policies: PoolPolicies
  readonly createRule: (() => HoldRule) | undefined
}

/** What was said of a call, by which predictor, and what the shadow would have said. */
export interface ArmPrediction extends LengthPrediction {
  readonly by?: LengthPredictor
  readonly shadow?: LengthPrediction
}

/** Shadows are asked beside every call: one that takes longer than this is set aside for a while. */
const SHADOW_LATE_MS = 5

/** Asks something that nobody obeys: failing or late, it is counted, and set aside where it is so five times in a row. */
export class ShadowAsk {
  readonly #circuit = new Circuit()
  readonly #nowMs: () => number
  readonly #count: (what: string) => void

  constructor(parts: { readonly nowMs: () => number; readonly count: (what: string) => void }) {
    this.#nowMs = parts.nowMs
    this.#count = parts.count
  }

  ask<T>(question: () => T): T | undefined {
    const beganMs = this.#nowMs()
    if (this.#circuit.isOpen(beganMs)) return undefined
    try {
      const answer = question()
      if (this.#nowMs() - beganMs > SHADOW_LATE_MS) this.#strike('shadow late')
      else this.#circuit.passed()
      return answer
    } catch {
      this.#strike('shadow failed')
      return undefined
    }
  }

  #strike(what: string): void {
    this.#count(what)
    if (this.#circuit.strike(this.#nowMs())) this.#count('shadow set aside')
  }
}

/** Which predictors there are now, and how the challenger's is asked. */
export interface LengthArms {
  readonly champion: LengthPredictor
  readonly challenger: LengthPredictor | undefined
  readonly asks: 'champion' | 'challenger' | 'both'
}

/** One predictor for the router, over those of both arms. Every answer teaches both, each with what it had said itself. */
export function createArmLengths(now: () => LengthArms, shadow: ShadowAsk): LengthPredictor {
  return {
    predict(pool: string, call: Call, promptTokens?: number): ArmPrediction {
      const { champion, challenger, asks } = now()
      if (asks === 'challenger' && challenger) return { ...challenger.predict(pool, call, promptTokens), by: challenger }
      const said = champion.predict(pool, call, promptTokens)
      if (asks !== 'both' || !challenger) return said
      const other = shadow.ask(() => challenger.predict(pool, call, promptTokens))
      return other ? { ...said, by: champion, shadow: other } : said
    },
    learn(pool, call, answer, prediction?: ArmPrediction) {
      const { champion, challenger } = now()
      const by = prediction?.by ?? champion
      champion.learn(pool, call, answer, by === champion ? prediction : undefined)
      if (challenger) challenger.learn(pool, call, answer, by === challenger ? prediction : prediction?.shadow)
    },
  }
}
