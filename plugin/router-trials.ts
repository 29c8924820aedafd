import type { Call } from './call/call.ts'
import type { Clock } from './clock.ts'
import type { Log, ShadowSaid, TrialEnding, TrialMark } from './log/rows.ts'
import type { Outcome } from './outcome/outcome.ts'
import type { PoolPolicies } from './placement/choose.ts'
import type { Candidates, Policy } from './placement/policy.ts'
import type { LengthPredictor } from './prediction/length-predictor.ts'
import { type ArmModels, createArmLengths, ShadowAsk } from './router-arms.ts'
import { type Decision, keyOf } from './router-decide.ts'
import type { ServedPool } from './router-pools.ts'
import type { Known } from './router-rows.ts'
import type { LiveTicket } from './router-ticket.ts'
import { LiveTrial, type RouterTrial } from './router-trial.ts'

export interface RouterArmsParts {
  readonly pools: readonly ServedPool[]
  /** What ships, or the histories: serves where no model was promoted. */
  readonly lengths: LengthPredictor
  readonly log: Pick<Log, 'append'>
  readonly clock: Clock
  readonly count: (what: string) => void
  readonly trialEnded: (ending: TrialEnding) => void
}

/** Who decides for a call. */
export interface Decider {
  readonly policies: PoolPolicies
  readonly mark?: TrialMark
  /** Asked beside it: the place among the candidates that the challenger would take. */
  readonly shadow?: (candidates: Candidates, call: Call) => number | undefined
}

/** The guard looks this often; one look costs some hundred µs. */
const TICK_MS = 1_000

/** Champions and challengers of the router: swapped between two calls, since everything here is synchronous. */
export class RouterArms {
  /** Of whichever arm a call is in. */
  readonly lengths: LengthPredictor
  readonly #parts: RouterArmsParts
  readonly #shadow: ShadowAsk
  #champion: ArmModels = {}
  #trial: LiveTrial | undefined
  #tickedMs = Number.NEGATIVE_INFINITY
  #costs = new Float64Array(16)
  #probabilities = new Float64Array(16)

  constructor(parts: RouterArmsParts) {
    this.#parts = parts
    const { clock, count } = parts
    this.#shadow = new ShadowAsk({ nowMs: clock.nowMs, count })
    this.lengths = createArmLengths(() => this.#lengthArms(), new ShadowAsk({ nowMs: clock.nowMs, count }))
  }

  /** Puts models in the champion's place from the next call on. Throws where one of them does not fit; then nothing has changed. */
  serve(models: ArmModels): void {
    for (const { arms } of this.#parts.pools) arms.serve(models)
    this.#champion = models
  }

  /** Begins a trial, in the place of any other. Throws where its models or plan do not fit; then nothing has changed. */
  begin(trial: RouterTrial): void {
    const { pools, log, trialEnded } = this.#parts
    const next = new LiveTrial({
      trial,
      pools: pools.map(({ pool }) => pool.name),
      log,
      follow: (arm) => {
        for (const { arms } of pools) arms.follow(arm)
      },
      ended: (ending) => {
        this.end(ending.trialId)
        trialEnded(ending)
      },
    })
    for (const { arms } of pools) arms.challenge(trial.models)
    this.#trial = next
  }

  /** Ends the trial; the champion decides from the next call on. */
  end(trialId: number): void {
    if (this.#trial?.trial.trialId !== trialId) return
    this.#trial = undefined
    for (const { arms } of this.#parts.pools) arms.challenge(undefined)
  }

  get trial(): RouterTrial | undefined {
    return this.#trial?.trial
  }

  /** Blocks begin and end, and harm is looked for; to be called every second or more often. */
  tick(nowMs: number): void {
    if (nowMs - this.#tickedMs < TICK_MS) return
    this.#tickedMs = nowMs
    this.#trial?.tick(nowMs, this.#parts.clock.nowUnixMs())
  }

  deciderOf({ arms }: ServedPool): Decider {
    const trial = this.#trial
    if (!trial) return { policies: arms.champion }
    const { mark, arm } = trial.at(this.#parts.clock.nowUnixMs())
    const { challenger } = arms
    if (arm === 'challenger' && challenger) return { policies: challenger, mark }
    if (trial.trial.canary || !trial.trial.models.policyOf || !challenger) return { policies: arms.champion, mark }
    return { policies: arms.champion, mark, shadow: (candidates, call) => this.#ask(challenger.policy, candidates, call) }
  }

  placed(ticket: LiveTicket, nowMs: number): void {
    const { trial, call, decision, decisionRow, known, policy } = ticket.input
    if (!trial || !this.#trial) return
    const guarded = {
      callId: call.callId,
      nowMs,
      heldMs: decisionRow.heldMs,
      decisionMs: decisionRow.decisionUs / 1_000,
      instance: decision.instance.name,
      fellBack: decision.placement.policy !== policy.name,
      promptTokens: known.promptTokens,
      predictedOutputTokens: known.predictedOutputTokens,
    }
    this.#trial.placed(ticket.pool.name, guarded, trial)
  }

  firstToken(ticket: LiveTicket, nowMs: number): void {
    if (ticket.input.trial) this.#trial?.firstToken(ticket.pool.name, ticket.call.callId, nowMs)
  }

  settled(ticket: LiveTicket, outcome: Outcome, nowMs: number): void {
    if (ticket.input.trial) this.#trial?.settled(ticket.pool.name, ticket.call.callId, outcome, nowMs)
  }

  /** What the log keeps of what the shadow said; undefined where none was asked. */
  shadowOf(decision: Decision, known: Known): ShadowSaid | undefined {
    const prediction = known.prediction as { readonly shadow?: { readonly outputTokens: number } } | undefined
    const outputTokens = prediction?.shadow?.outputTokens
    const { shadow } = decision
    if (shadow === undefined && outputTokens === undefined) return undefined
    return {
      ...(shadow ? { instance: keyOf(shadow) } : {}),
      ...(outputTokens === undefined || Number.isNaN(outputTokens) ? {} : { outputTokens }),
    }
  }

  #lengthArms() {
    const champion = this.#champion.lengths ?? this.#parts.lengths
    const trial = this.#trial
    const challenger = trial?.trial.models.lengths
    if (!trial || !challenger) return { champion, challenger: undefined, asks: 'champion' as const }
    if (!trial.trial.canary) return { champion, challenger, asks: 'both' as const }
    const { arm } = trial.at(this.#parts.clock.nowUnixMs())
    return { champion, challenger, asks: arm === 'challenger' ? ('challenger' as const) : ('champion' as const) }
  }

  #ask(policy: Policy, candidates: Candidates, call: Call): number | undefined {
    return this.#shadow.ask(() => {
      const { count } = candidates
      if (this.#costs.length < count) {
        this.#costs = new Float64Array(2 * count)
        this.#probabilities = new Float64Array(2 * count)
      }
      policy.distribute(candidates, call, { costs: this.#costs, probabilities: this.#probabilities })
      let best = 0
      for (let i = 0; i < count; i++) {
        const probability = this.#probabilities[i] as number
        if (!(probability >= 0)) throw new Error(`${policy.name} gave probability ${probability}`)
        if (probability > (this.#probabilities[best] as number)) best = i
      }
      return best
    })
  }
}
