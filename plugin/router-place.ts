import type { Call } from './call/call.ts'
import type { Clock } from './clock.ts'
import type { Fleet, LiveInstance } from './fleet/fleet.ts'
import type { Dispatch } from './fleet/ledger.ts'
import type { CallRow, DecisionRow, Log } from './log/rows.ts'
import type { Outcome } from './outcome/outcome.ts'
import type { CallFacts } from './placement/candidates.ts'
import type { PoolPolicies } from './placement/choose.ts'
import { createPolicy } from './placement/policies.ts'
import type { Policy } from './placement/policy.ts'
import type { Weights } from './placement/weighted.ts'
import type { LengthPredictor } from './prediction/running-length.ts'
import type { Rng } from './rng.ts'
import { PlacementError, type PlaceOptions, type PoolFacts, type Router } from './router.ts'
import { createDecide, type Decision, keyOf } from './router-decide.ts'
import { LiveTicket } from './router-ticket.ts'

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
/** When no instance may take a call: half-open trials come at this pace. */
const NO_INSTANCE_RETRY_MS = 1_000

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
  const settled = (ticket: LiveTicket, outcome: Outcome): void => {
    tellPolicy(served.get(ticket.call.model)?.at.policies.policy, ticket, outcome, clock.nowMs())
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
      })
      if (!decision) {
        const refusal = noInstance(at.pool.name, options)
        parts.log.append(
          refusedRow({ call, gateway: options.gateway, pool: at, known, elapsedMs: clock.nowMs() - (options.arrivedMs ?? startedMs) }),
        )
        events.count('no instance')
        throw refusal
      }
      at.policies.policy.onPlaced?.(decision.instance, call, { nowMs: startedMs, ...known })
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
      })
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

/** A policy that keeps state learns how its choice ended, in the instance's own time: what passed before its placement is taken off. */
function tellPolicy(policy: Policy | undefined, ticket: LiveTicket, outcome: Outcome, nowMs: number): void {
  if (!policy?.onSettled) return
  const { decision, decisionRow, promptTokens } = ticket.input
  policy.onSettled(decision.instance, ticket.call, {
    nowMs,
    completed: outcome.kind === 'completed' && ticket.attempts.length === 1,
    ttftMs: (outcome.ttftMs ?? Number.NaN) - decisionRow.placedMs,
    tpotMs: outcome.tpotMs ?? Number.NaN,
    e2eMs: outcome.e2eMs - decisionRow.placedMs,
    promptTokens: outcome.promptTokens ?? promptTokens,
    outputTokens: outcome.outputTokens ?? Number.NaN,
  })
}

function learn(parts: RouterParts, ticket: LiveTicket, outcome: Outcome): void {
  try {
    const pool = ticket.pool.name
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

function unknownModel(model: string, known: readonly string[]): PlacementError {
  return new PlacementError(
    'unknown model',
    `The model ${JSON.stringify(model)} is not served here; there is ${known.slice(0, 20).join(', ')}.`,
  )
}

function noInstance(pool: string, options: PlaceOptions): PlacementError {
  if (options.subset) return new PlacementError('subset empty', `No instance of ${pool} in the subset asked for may take a call.`)
  return new PlacementError('no instance', `No instance of ${pool} may take a call now.`, NO_INSTANCE_RETRY_MS)
}
