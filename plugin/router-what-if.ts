import type { Call } from './call/call.ts'
import type { InstanceView } from './fleet/instance.ts'
import type { EngineShape } from './impact/engine-shape.ts'
import { RollForward } from './impact/roll-forward.ts'
import { type Attribution, attribute } from './placement/attribution.ts'
import { AT, CALL_COLUMNS, CANDIDATE_COLUMNS } from './placement/features.ts'
import { newCall } from './placement/look-ahead.ts'
import { createPolicy, createShapeOf, POLICY_NAMES } from './placement/policies.ts'
import type { Candidates, Distribution, Policy } from './placement/policy.ts'
import { recordedInstance } from './placement/recorded.ts'

/** The rows that a decision saw, as they were logged. NaN is unknown. */
export interface LoggedRows {
  readonly pool: string
  /** `CALL_COLUMNS.length` values. */
  readonly call: Float32Array
  readonly candidates: readonly { readonly instance: string; readonly features: Float32Array }[]
}

/** What one policy would have wanted. `unknown` says why the rows do not tell. */
export interface WouldChoose {
  readonly policy: string
  /** Those it wants most; several where it draws among them. */
  readonly instances: readonly string[]
  /** With which it wants each of them, 0..1. */
  readonly probability: number
  readonly unknown?: string
  /** It weighs calls in flight one by one, which no row holds: as many like their mean stood for them. */
  readonly about?: true
}

/** What an instance would have made of the call, by the same look-ahead as the policy `impact`: times from the placement, ms; NaN unknown. */
export interface Expected {
  readonly instance: string
  readonly ttftMs: number
  readonly e2eMs: number
  /** How much later all calls in flight there would have ended, summed. */
  readonly othersMs: number
}

/** Something that a policy reads and no row holds. */
class NotLogged extends Error {}

/** Probabilities this close are the same wish. */
const SAME = 1e-9

/**
 * Asks every policy without a memory what it would have done with these rows. One that weighs each call in flight is asked with as many calls like their mean, and
 * its answer is marked; one that reads something else that no row holds meets a NotLogged and is said to be unknown: the answer is never a guess. Policies with a
 * memory are not asked, since theirs of then is gone.
 */
export function askPolicies(rows: LoggedRows, profileOf: ProfileOf): WouldChoose[] {
  const exact = candidatesOf(rows, exactView)
  const about = candidatesOf(rows, aboutView)
  return POLICY_NAMES.flatMap((name) => {
    const policy = createPolicy(name, { profileOf })
    if (policy.onPlaced || policy.onSettled) return []
    const told = wishOf(policy, exact)
    const again = told.unknown === undefined ? told : wishOf(policy, about)
    return [{ policy: name, ...(again.unknown === undefined && again !== told ? { ...again, about: true as const } : told) }]
  })
}

type ProfileOf = ((instance: InstanceView) => EngineShape | undefined) | undefined

/** What each candidate would have made of the call, by its profile and what its row tells. */
export function expectTimes(rows: LoggedRows, profileOf: ProfileOf): Expected[] {
  const candidates = candidatesOf(rows, aboutView)
  const shapeOf = createShapeOf({ profileOf })
  const forward = new RollForward()
  return candidates.instances.map((instance, i) => {
    const shape = shapeOf(instance)
    forward.load(instance, 0)
    const withoutMs = forward.run(shape)
    const othersMs = forward.run(shape, newCall(candidates, i)) - withoutMs
    return { instance: instance.name, ttftMs: forward.ownTtftMs, e2eMs: forward.ownE2eMs, othersMs }
  })
}

type View = (given: {
  readonly pool: string
  readonly name: string
  readonly slot: number
  readonly features: Float32Array
}) => InstanceView

function candidatesOf(rows: LoggedRows, view: View): Candidates {
  const inNameOrder = rows.candidates.toSorted((a, b) => (a.instance < b.instance ? -1 : 1))
  return {
    count: inNameOrder.length,
    instances: inNameOrder.map(({ instance, features }, slot) => view({ pool: rows.pool, name: instance, slot, features })),
    rows: Float32Array.from(inNameOrder.flatMap(({ features }) => [...features])),
    callRow: rows.call,
    nowMs: 0,
  }
}

/** What decided then: by name, version ('none' for a rule) and costs, one per candidate. */
export interface Decided {
  readonly policy: string
  readonly version: string
  readonly costs: readonly (number | null)[]
}

/**
 * Which features decided, found by asking the policy that serves now, where it is the very one that decided; the candidates stand in its order. Undefined
 * where it is another one, or gives no answer.
 */
export function becauseOf(rows: LoggedRows, decided: Decided, serving: Policy | undefined): Attribution | undefined {
  if (serving?.name !== decided.policy || (serving.version ?? 'none') !== decided.version) return undefined
  if (rows.candidates.length < 2 || decided.costs.length !== rows.candidates.length) return undefined
  try {
    return attribute(serving, {
      callRow: rows.call,
      rows: rows.candidates.map(({ features }) => features),
      costs: decided.costs.map((cost) => cost ?? Number.NaN),
      names: rows.candidates.map(({ instance }) => instance),
      chosen: 0,
      runnerUp: 1,
    })
  } catch {
    // A policy that fails here is as good as none: the page says less, and calls are not concerned.
    return undefined
  }
}

function wishOf(policy: Policy, candidates: Candidates): Omit<WouldChoose, 'policy'> {
  const { count } = candidates
  const out: Distribution = { costs: new Float64Array(count), probabilities: new Float64Array(count) }
  try {
    policy.distribute(candidates, notLogged('of the call') as Call, out)
  } catch (error) {
    if (error instanceof NotLogged) return { instances: [], probability: 0, unknown: error.message }
    return { instances: [], probability: 0, unknown: 'it gives no answer on these rows' }
  }
  const probability = Math.max(...out.probabilities)
  const instances = candidates.instances.flatMap((one, i) => (probability - (out.probabilities[i] as number) < SAME ? [one.name] : []))
  return { instances, probability: Math.min(1, probability) }
}

/** An instance made of its row alone: whatever else is read of it throws. */
const exactView: View = (given) => viewOf(given, {}, {}, {})

/** The same, and calls like their mean for those in flight. The row has no pace of whole answers: calls are taken to be as far as was counted. */
const aboutView: View = (given) => {
  const { ledger, scrape } = recordedInstance(given.features, given)
  const { kvBlocks, kvBlockTokens, kvTokensUnseen } = scrape
  return viewOf(given, { wholePaceMs: Number.NaN }, { open: () => ledger.open() }, { kvBlocks, kvBlockTokens, kvTokensUnseen })
}

function viewOf(given: Parameters<View>[0], more: object, moreLedger: object, moreScrape: object): InstanceView {
  const { features, ...named } = given
  const of = (column: keyof typeof AT): number => features[AT[column]] ?? Number.NaN
  const ledger = {
    inFlight: of('inFlight'),
    prefillTokensPending: of('prefillTokensPending'),
    promptTokens: of('promptTokensInFlight'),
    outputTokensLeft: of('outputTokensLeft'),
    outputTokensDone: of('outputTokensDone'),
    awaitingFirstToken: of('awaitingFirstToken'),
    ...moreLedger,
  }
  const scrape = {
    waiting: of('waiting'),
    running: of('running'),
    kvUsageRatio: of('kvUsage'),
    foreignInFlight: of('foreignInFlight'),
    ...moreScrape,
  }
  const known = {
    ...named,
    speed: of('speed'),
    weight: of('weight'),
    slowStartRatio: of('slowStart'),
    ledger: notLogged('of its calls in flight', ledger),
    scrape: notLogged('of its metrics', scrape),
    ...more,
  }
  return notLogged('of the instance', known) as InstanceView
}

/** `known`, and a NotLogged for everything else that is asked of it. */
function notLogged(whose: string, known: object = {}): unknown {
  return new Proxy(known, {
    get(target, key) {
      if (key in target || typeof key === 'symbol') return Reflect.get(target, key)
      throw new NotLogged(`it also reads ${words(key)} ${whose}, which the row does not hold`)
    },
  })
}

const words = (key: string): string => (key === 'open' ? 'each one' : key.replace(/([A-Z])/g, (letter) => ` ${letter.toLowerCase()}`))

/** A row from JSON: null is unknown. Undefined where it has another length than the columns. */
export function rowFrom(
  values: readonly (number | null)[],
  columns: typeof CALL_COLUMNS | typeof CANDIDATE_COLUMNS,
): Float32Array | undefined {
  return values.length === columns.length ? Float32Array.from(values, (value) => value ?? Number.NaN) : undefined
}

/** Logged rows out of an API's request; undefined where a row has another length than today's columns. */
export function loggedRows(given: {
  readonly pool: string
  readonly call: readonly (number | null)[]
  readonly candidates: readonly { readonly instance: string; readonly features: readonly (number | null)[] }[]
}): LoggedRows | undefined {
  const call = rowFrom(given.call, CALL_COLUMNS)
  const candidates = given.candidates.flatMap(({ instance, features }) => {
    const row = rowFrom(features, CANDIDATE_COLUMNS)
    return row ? [{ instance, features: row }] : []
  })
  return call && candidates.length === given.candidates.length ? { pool: given.pool, call, candidates } : undefined
}
