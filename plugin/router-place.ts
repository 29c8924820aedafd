import type { Call } from './call/call.ts'
import type { Clock } from './clock.ts'
import type { Fleet, LiveInstance } from './fleet/fleet.ts'
import { enginePriority } from './hold/engine-priority.ts'
import type { Log, TrialEnding } from './log/rows.ts'
import type { Outcome } from './outcome/outcome.ts'
import type { Policy } from './placement/policy.ts'
import type { LengthPredictor } from './prediction/length-predictor.ts'
import type { Rng } from './rng.ts'
import { PlacementError, type PlaceOptions, type Router, type Ticket } from './router.ts'
import { createDecide } from './router-decide.ts'
import type { HoldState, PoolHold, Waiting } from './router-hold.ts'
import { knowCall } from './router-know.ts'
import { learn, tellPolicy } from './router-lessons.ts'
import { type RouterPool, type Served, servePools } from './router-pools.ts'
import { createPreview } from './router-preview.ts'
import { noInstance, unknownModel } from './router-refusals.ts'
import { Roster } from './router-roster.ts'
import { describeDecision, type Known, settledRow, unplacedRow } from './router-rows.ts'
import { LiveTicket } from './router-ticket.ts'
import { type Decider, RouterArms } from './router-trials.ts'

export type { RouterPool } from './router-pools.ts'

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
  /** A canary is over: its blocks are done, or the guard withdrew it. */
  trialEnded?(ending: TrialEnding): void
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

/** The router and what its keeper needs besides: finding hung calls, and letting held ones go. */
export interface LiveRouter extends Router {
  /** Aborts calls on hung instances; call it every second or so. */
  abortStalled(nowMs: number): void
  /** Starts held calls whose time has come; deadlines are kept as exactly as this is called. */
  tick(nowMs: number): void
  /** Refuses every held call: the process is going away. */
  shed(): void
  /** How each pool that may hold does so now. */
  holds(): readonly HoldState[]
  readonly inFlight: () => number
  /** What serves and what is tried; changed between two calls. */
  readonly arms: RouterArms
  /** The kill switch: while off every pool is placed by its fallback policy, nothing is explored and nothing held. */
  switchOff(isOff: boolean): void
  readonly isOff: () => boolean
  /** The policy that decides for a pool now, challengers left out; undefined where there is no such pool. */
  readonly policyOf: (pool: string) => Policy | undefined
  /** What is believed of a pool's engines now, promoted profiles included. */
  readonly profileOf: (pool: string) => RouterPool['profileOf']
  /** Changed settings of a pool count from the next call on (see `ServedPool.configure`). Throws on an unknown policy name; a pool it does not have is left alone. */
  configure(pool: RouterPool): void
}

/** Fallbacks kept beyond the retries allowed, since some will have been ejected by the time they are needed. */
export const SPARE_FALLBACKS = 1
/** A caller whose held call is shed tries again when another process has taken over. */
const SHED_RETRY_MS = 1_000

/** A call on its way to a placement. */
interface Placing {
  readonly call: Call
  readonly options: PlaceOptions
  readonly served: Served
  readonly known: Known
  readonly enteredMs: number
  readonly arrivedMs: number
  /** What the estimates took. */
  readonly knownMs: number
}

type Released = Parameters<Waiting['start']>[0]

/** Makes the loop over these parts. Throws on an unknown policy name. */
export function createRouter(parts: RouterParts): LiveRouter {
  const { fleet, clock, events } = parts
  const { pools, names } = servePools(parts.pools, { fleet, count: events.count, nowMs: clock.nowMs })
  const arms = new RouterArms({
    pools,
    lengths: parts.lengths,
    log: parts.log,
    clock,
    count: events.count,
    trialEnded: (ending) => events.trialEnded?.(ending),
  })
  const knowing = { ...parts, lengths: arms.lengths }
  const byName = new Map(pools.map((one) => [one.pool.name, one] as const))
  // Asked each time: holding can be switched on and off between two calls.
  const holds = (): PoolHold[] => pools.flatMap(({ hold }) => hold ?? [])
  const open = new Roster<LiveTicket>()
  let isOff = false
  const start = createStart(knowing, { open, arms, isOff: () => isOff, moved: (pool) => byName.get(pool)?.hold?.pump(clock.nowMs()) })
  return {
    async place(call, options) {
      const enteredMs = clock.nowMs()
      const served = names.get(call.model)
      if (!served) throw unknownModel(call.model, [...names.keys()])
      const known = knowCall(knowing, served.at.pool.name, call, served.adapter)
      const arrivedMs = options.arrivedMs ?? enteredMs
      const placing = { call, options, served, known, enteredMs, arrivedMs, knownMs: clock.nowMs() - enteredMs }
      const { hold } = served.at
      return hold ? waitFor({ parts, placing, hold, start }) : start(placing, { nowMs: enteredMs })
    },
    preview: createPreview(knowing, names, () => isOff),
    poolFor: (model) => names.get(model)?.facts,
    models: () => [...names].map(([id, { at }]) => ({ id, pool: at.pool.name })),
    ready: () => fleet.ready(),
    abortStalled(nowMs) {
      const hung = new Set(fleet.stalled(nowMs).flatMap((stall) => stall.dispatches))
      if (hung.size > 0) for (const ticket of open.all()) if (ticket.isOn(hung)) ticket.stalled()
    },
    tick(nowMs) {
      for (const hold of holds()) hold.pump(nowMs)
      arms.tick(nowMs)
    },
    shed() {
      for (const hold of holds()) hold.shed(clock.nowMs())
    },
    holds: () => holds().map((hold) => hold.state()),
    inFlight: () => open.size,
    arms,
    switchOff(wanted) {
      isOff = wanted
      for (const hold of holds()) hold.suspend(wanted, clock.nowMs())
    },
    isOff: () => isOff,
    policyOf: (name) => byName.get(name)?.policies.policy,
    profileOf: (name) => byName.get(name)?.pool.profileOf,
    configure(pool) {
      const at = byName.get(pool.name)
      at?.configure(pool)
      if (isOff) at?.hold?.suspend(true, clock.nowMs())
      // A wider bound may let somebody go now.
      else at?.hold?.pump(clock.nowMs())
    },
  }
}

interface Starting {
  readonly open: Roster<LiveTicket>
  readonly arms: RouterArms
  readonly isOff: () => boolean
  /** Something became free on an instance of this pool. */
  readonly moved: (pool: string) => void
}

/** Decides, books and gives the ticket, at once; throws PlacementError where no instance may take the call. */
function createStart(parts: RouterParts, { open, arms, isOff, moved }: Starting): (placing: Placing, released: Released) => LiveTicket {
  const { fleet, clock, events, textFeatures, retriesPerCall } = parts
  const decide = createDecide({ fleet, rng: parts.rng, fallbacksMax: retriesPerCall + SPARE_FALLBACKS, count: events.count })
  const settled = (ticket: LiveTicket, outcome: Outcome): void => {
    tellPolicy(parts, ticket.input.policy, ticket, outcome)
    arms.settled(ticket, outcome, clock.nowMs())
    learn(parts, ticket, outcome)
    parts.log.append(settledRow(ticket, outcome, { textFeatures }))
    events.settled(ticket, outcome)
    moved(ticket.pool.name)
  }
  const ticketParts = {
    fleet,
    nowMs: () => clock.nowMs(),
    retriesPerCall,
    open,
    settled,
    moved,
    count: events.count,
    firstToken: arms.firstToken.bind(arms),
  }
  return (placing, { instances, nowMs }) => {
    const { call, options, served, known, arrivedMs } = placing
    const { pool, plain } = served.at
    const { policies, mark, shadow }: Decider = isOff() ? { policies: plain } : arms.deciderOf(served.at)
    const begunMs = clock.nowMs()
    const heldMs = Math.max(0, nowMs - placing.enteredMs)
    const decision = decide({
      pool: pool.name,
      policies,
      shadow,
      isOff: isOff(),
      call,
      facts: heldMs > 0 ? { ...known, heldMs } : known,
      lengthVersion: known.lengthVersion,
      nowMs,
      ...(options.subset ? { subset: options.subset } : {}),
      ...(instances ? { only: instances } : {}),
      ...(options.insists ? { insists: true as const } : {}),
    })
    if (!decision) throw refuse(parts, placing, { heldMs, refusal: noInstance(pool.name, options) })
    policies.policy.onPlaced?.(decision.instance, call, { nowMs, ...known })
    const endedMs = clock.nowMs()
    const decisionMs = placing.knownMs + endedMs - begunMs
    const said = arms.shadowOf(decision, known)
    const ticket = new LiveTicket(ticketParts, {
      call,
      gateway: options.gateway,
      pool: served.facts,
      decision,
      decisionRow: describeDecision({ decision, known, decisionMs, heldMs, placedMs: endedMs - arrivedMs }),
      known,
      arrivedMs,
      unwatched: options.unwatched === true,
      policy: policies.policy,
      ...(mark ? { trial: mark } : {}),
      ...(said ? { shadow: said } : {}),
      ...(pool.enginePriority ? { enginePriority: enginePriority({ call, ...known }) } : {}),
    })
    arms.placed(ticket, endedMs)
    return ticket
  }
}

interface Holding {
  readonly parts: RouterParts
  readonly placing: Placing
  readonly hold: PoolHold
  readonly start: (placing: Placing, released: Released) => LiveTicket
}

/** The ticket when the queue lets the call go: mostly at once. Rejects where the caller leaves before, or the router does. */
function waitFor({ parts, placing, hold, start }: Holding): Promise<Ticket> {
  return new Promise((resolve, reject) => {
    const { call, known, options, arrivedMs, enteredMs } = placing
    const { subset } = options
    let waits = true
    const waiting: Waiting = {
      call,
      promptTokens: known.promptTokens,
      predictedOutputTokens: known.predictedOutputTokens,
      arrivedMs,
      ...(subset ? { accepts: (instance) => subset.includes((instance as LiveInstance).endpoint) } : {}),
      start(released) {
        waits = false
        try {
          resolve(start(placing, released))
        } catch (error) {
          reject(error)
        }
      },
      shed(nowMs) {
        const refusal = new PlacementError('no instance', 'The gateway is shutting down.', SHED_RETRY_MS)
        reject(refuse(parts, placing, { heldMs: nowMs - enteredMs, refusal, error: 'shutdown' }))
      },
    }
    if (hold.offer(waiting, enteredMs) || !waits) return
    const leave = (): void => {
      const nowMs = parts.clock.nowMs()
      if (!hold.leave(waiting, nowMs)) return
      const refusal = new PlacementError('client gone', 'The caller left while the call was held.')
      reject(refuse(parts, placing, { heldMs: nowMs - enteredMs, refusal }))
    }
    const { signal } = options
    if (signal?.aborted) leave()
    else signal?.addEventListener('abort', leave, { once: true })
  })
}

/** Logs and counts a call that will not be placed, and gives back the refusal to throw. */
function refuse(
  { log, clock, events }: RouterParts,
  placing: Placing,
  { heldMs, refusal, error = 'no instance' }: { readonly heldMs: number; readonly refusal: PlacementError; readonly error?: string },
): PlacementError {
  const { call, options, served, known, arrivedMs } = placing
  const isGone = refusal.kind === 'client gone'
  const outcome = isGone ? { kind: 'client gone' as const, error: 'client gone' } : { kind: 'instance error' as const, status: 503, error }
  log.append(
    unplacedRow({ call, gateway: options.gateway, pool: served.at.pool, known, elapsedMs: clock.nowMs() - arrivedMs, heldMs, outcome }),
  )
  events.count(isGone ? 'left while held' : error === 'shutdown' ? 'held at shutdown' : error)
  return refusal
}
