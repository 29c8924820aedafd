import type { Call } from './call/call.ts'
import type { Clock } from './clock.ts'
import type { Fleet, LiveInstance } from './fleet/fleet.ts'
import type { Dispatch } from './fleet/ledger.ts'
import type { CallRow, DecisionRow, Log } from './log/rows.ts'
import type { Outcome } from './outcome/outcome.ts'
import type { CallFacts } from './placement/candidates.ts'
import { createPolicy } from './placement/policies.ts'
import type { Weights } from './placement/weighted.ts'
import type { LengthPredictor } from './prediction/running-length.ts'
import type { Rng } from './rng.ts'
import type { PoolFacts, Router } from './router.ts'
import { createDecide, type Decision, keyOf, type PoolPolicies } from './router-decide.ts'
import { noInstance, unknownModel } from './router-refusals.ts'
import { expectedOf, LiveTicket } from './router-ticket.ts'

/** What the router must know of a pool. */
export interface RouterPool {
  readonly name: string
  readonly models: readonly string[]
  /** Name callers use → model name that the instances know. */
  readonly aliases: Readonly<Record<string, string>>
  readonly adapters: readonly string[]
  readonly policy: string
  readonly weights?: { readonly [key in keyof Weights]?: number | undefined } | undefined
  readonly fallbackPolicy: string
  readonly explorationRatio: number
  readonly requestUsage: boolean
  readonly virtual: boolean
}

/** Prompt tokens from what is known before the instance counts them. */
export interface TokenCounts {
  estimate(pool: string, call: Call): number
  learn(pool: string, call: Call, promptTokens: number): void
}

/** Where the router tells what happened, besides the log. */
export interface RouterEvents {
  settled(ticket: LiveTicket, outcome: Outcome): void
  /** Something was lost or worked around. */
  count(what: string): void
}

export interface RouterParts {
  readonly pools: readonly RouterPool[]
  readonly fleet: Fleet
  readonly tokens: TokenCounts
  readonly lengths: LengthPredictor
  readonly log: Pick<Log, 'append'>
  readonly events: RouterEvents
  readonly clock: Clock
  readonly rng: Rng
  readonly textFeatures: boolean
  readonly retriesPerCall: number
}

/** The router and what its keeper needs besides: finding hung calls. */
export interface LiveRouter extends Router {
  /** Aborts calls on hung instances; call it every second or so. */
  abortStalled(nowMs: number): void
  readonly inFlight: () => number
}

/** Fallbacks kept beyond the retries allowed, since some will have been ejected by the time they are needed. */
const SPARE_FALLBACKS = 1

interface ServedPool {
  readonly pool: RouterPool
  readonly policies: PoolPolicies
}

/** Makes the loop over these parts. Throws on an unknown policy name. */
export function createRouter(parts: RouterParts): LiveRouter {
  const { fleet, clock, events } = parts
  const served = new Map<string, { readonly at: ServedPool; readonly facts: PoolFacts; readonly adapter?: string }>()
  for (const pool of parts.pools) serve(pool, served)
  const open = new Map<Dispatch, LiveTicket>()
  const decide = createDecide({ fleet, rng: parts.rng, fallbacksMax: parts.retriesPerCall + SPARE_FALLBACKS, count: events.count })
  // Dice and counters of their own: what is only tried out must not shift what real calls get.
  const tryOut = createDecide({
    fleet,
    rng: parts.rng.stream('preview'),
    fallbacksMax: parts.retriesPerCall + SPARE_FALLBACKS,
    count: () => undefined,
  })
  const settled = (ticket: LiveTicket, outcome: Outcome): void => {
    served.get(ticket.call.model)?.at.policies.policy.onSettled?.(ticket.input.decision.instance, ticket.call)
    learn(parts, ticket, outcome)
    parts.log.append(callRow(parts, ticket, outcome))
    events.settled(ticket, outcome)
  }
  const ticketParts = { fleet, nowMs: () => clock.nowMs(), retriesPerCall: parts.retriesPerCall, open, settled, count: events.count }

  return {
    async place(call, options) {
      const startedMs = clock.nowMs()
      const found = served.get(call.model)
      if (!found) throw unknownModel(call.model, [...served.keys()])
      const { at, facts } = found
      const known = knowCall(parts, at.pool.name, call, found.adapter)
      const decision = decide({
        pool: at.pool.name,
        policies: at.policies,
        call,
        facts: known,
        lengthVersion: known.lengthVersion,
        nowMs: startedMs,
        ...(options.subset ? { subset: options.subset } : {}),
        ...(options.insists ? { insists: true as const } : {}),
      })
      if (!decision) {
        const refusal = noInstance(at.pool.name, options)
        parts.log.append(
          refusedRow({ call, gateway: options.gateway, pool: at, known, elapsedMs: clock.nowMs() - (options.arrivedMs ?? startedMs) }),
        )
        events.count('no instance')
        throw refusal
      }
      at.policies.policy.onPlaced?.(decision.instance, call)
      const arrivedMs = options.arrivedMs ?? startedMs
      const decisionRow = describeDecision({ decision, known, startedMs, nowMs: clock.nowMs(), arrivedMs })
      return new LiveTicket(ticketParts, {
        call,
        gateway: options.gateway,
        pool: facts,
        decision,
        decisionRow,
        promptTokens: known.promptTokens,
        arrivedMs,
        unwatched: options.unwatched === true,
      })
    },
    preview(call, options) {
      const nowMs = clock.nowMs()
      const found = served.get(call.model)
      if (!found) throw unknownModel(call.model, [...served.keys()])
      const { at, facts } = found
      const known = knowCall(parts, at.pool.name, call, found.adapter)
      const { lengthVersion } = known
      const subset = options.subset ? { subset: options.subset } : {}
      const decision = tryOut({ pool: at.pool.name, policies: at.policies, call, facts: known, lengthVersion, nowMs, ...subset })
      if (!decision) throw noInstance(at.pool.name, options)
      const row = describeDecision({ decision, known, startedMs: nowMs, nowMs, arrivedMs: nowMs })
      return { pool: facts, placement: decision.placement, expected: expectedOf(row) }
    },
    poolFor: (model) => served.get(model)?.facts,
    models: () => [...served].map(([id, { at }]) => ({ id, pool: at.pool.name })),
    ready: () => fleet.ready(),
    abortStalled(nowMs) {
      for (const stall of fleet.stalled(nowMs)) for (const dispatch of stall.dispatches) open.get(dispatch)?.stalled()
    },
    inFlight: () => open.size,
  }
}

function serve(pool: RouterPool, served: Map<string, { at: ServedPool; facts: PoolFacts; adapter?: string }>): void {
  const at: ServedPool = {
    pool,
    policies: {
      policy: createPolicy(pool.policy, { weights: pool.weights }),
      fallbackPolicy: createPolicy(pool.fallbackPolicy),
      explorationRatio: pool.explorationRatio,
    },
  }
  const facts = (upstreamModel: string): PoolFacts => ({
    name: pool.name,
    upstreamModel,
    requestUsage: pool.requestUsage,
    virtual: pool.virtual,
  })
  for (const model of pool.models) served.set(model, { at, facts: facts(model) })
  for (const adapter of pool.adapters) served.set(adapter, { at, facts: facts(adapter), adapter })
  for (const [alias, model] of Object.entries(pool.aliases))
    served.set(alias, { at, facts: facts(model), ...(pool.adapters.includes(model) ? { adapter: model } : {}) })
}

type Known = CallFacts & { readonly lengthVersion: string }

/** Estimates of tokens in and out. A broken estimator costs accuracy, never the call. */
function knowCall(parts: RouterParts, pool: string, call: Call, adapter: string | undefined): Known {
  const withAdapter = adapter === undefined ? {} : { adapter }
  try {
    const prediction = parts.lengths.predict(pool, call)
    const promptTokens = parts.tokens.estimate(pool, call)
    return { promptTokens, predictedOutputTokens: prediction.outputTokens, lengthVersion: prediction.version, ...withAdapter }
  } catch {
    parts.events.count('length prediction failed')
    return { promptTokens: Math.ceil(call.promptBytes / 4), predictedOutputTokens: Number.NaN, lengthVersion: 'none', ...withAdapter }
  }
}

interface Describing {
  readonly decision: Decision
  readonly known: Known
  readonly startedMs: number
  readonly nowMs: number
  readonly arrivedMs: number
}

function describeDecision({ decision, known, startedMs, nowMs, arrivedMs }: Describing): DecisionRow {
  const { placement, instance } = decision
  const output = known.predictedOutputTokens
  return {
    policy: placement.policy,
    reason: placement.reason,
    propensity: placement.propensity,
    explored: placement.explored,
    policyVersion: placement.policyVersion,
    lengthVersion: placement.lengthVersion,
    decisionUs: (nowMs - startedMs) * 1_000,
    heldMs: 0,
    promptTokensEstimate: known.promptTokens,
    ...(Number.isNaN(output) ? {} : { predictedOutputTokens: output }),
    ...expectLatency(instance, output),
    placedMs: nowMs - arrivedMs,
  }
}

/** What recent calls on that instance lead one to expect: its mean TTFT, and that plus its mean TPOT for each further token. */
function expectLatency(instance: LiveInstance, outputTokens: number): { predictedTtftMs?: number; predictedE2eMs?: number } {
  const { recentTtftMs, recentTpotMs } = instance
  if (Number.isNaN(recentTtftMs)) return {}
  const e2eMs = recentTtftMs + Math.max(0, outputTokens - 1) * recentTpotMs
  return { predictedTtftMs: recentTtftMs, ...(Number.isNaN(e2eMs) ? {} : { predictedE2eMs: e2eMs }) }
}

function learn(parts: RouterParts, ticket: LiveTicket, outcome: Outcome): void {
  try {
    const pool = ticket.pool.name
    // An attempt at another pool, by a gateway's own fallback, tells nothing of this one's tokeniser and lengths.
    if (ticket.instance.pool !== pool) return
    if (outcome.tokensFrom === 'usage' && outcome.promptTokens) parts.tokens.learn(pool, ticket.call, outcome.promptTokens)
    if (outcome.kind === 'completed' && !outcome.censored && outcome.outputTokens !== undefined)
      parts.lengths.learn(pool, ticket.call, outcome.outputTokens)
  } catch {
    parts.events.count('learning from an outcome failed')
  }
}

function callColumns(call: Call): CallRow['call'] {
  const { callId, arrivedUnixMs, api, model, stream, promptBytes, caller } = call
  const { maxTokens } = call.request
  return { callId, arrivedUnixMs, api, model, stream, promptBytes, caller, ...(maxTokens === undefined ? {} : { maxTokens }) }
}

interface Refused {
  readonly call: Call
  readonly gateway: string
  readonly pool: ServedPool
  readonly known: Known
  readonly elapsedMs: number
}

/** A call that no instance could take is a call all the same: it stands in the log. */
function refusedRow({ call, gateway, pool, known, elapsedMs }: Refused): CallRow {
  return {
    kind: 'call',
    gateway,
    pool: pool.pool.name,
    call: callColumns(call),
    decision: {
      policy: pool.pool.policy,
      reason: 'any reachable instance',
      propensity: 1,
      explored: false,
      policyVersion: 'none',
      lengthVersion: known.lengthVersion,
      decisionUs: elapsedMs * 1_000,
      heldMs: 0,
      promptTokensEstimate: known.promptTokens,
      placedMs: elapsedMs,
    },
    attempts: [],
    outcome: { kind: 'instance error', status: 503, error: 'no instance', e2eMs: elapsedMs, censored: true },
  }
}

function callRow(parts: RouterParts, ticket: LiveTicket, outcome: Outcome): CallRow {
  const { call, gateway, decision, decisionRow } = ticket.input
  return {
    kind: 'call',
    gateway,
    pool: ticket.pool.name,
    call: callColumns(call),
    ...(parts.textFeatures && call.textFeatures.length > 0 ? { textFeatures: call.textFeatures } : {}),
    instance: keyOf(ticket.instance),
    decision: decisionRow,
    candidates: decision.candidates,
    attempts: ticket.attempts,
    outcome,
  }
}
