import { Backlog, tokensOf } from './backlog.ts'
import { FairShare } from './fair-share.ts'
import { type HoldQueueOptions, withDefaults } from './hold-queue-options.ts'
import type { HeldCall, HoldInstance, HoldRule } from './rule.ts'

/** How long the front of the queue may be relied on where keys only age, and how many stand in it: nobody's rank moves much meanwhile. */
const FRONT_HOLDS_MS = 250
const FRONT_CALLS = 16

/** Half of what the caller allows until its first token may pass in the queue; the other half is the engine's. */
const SLO_SHARE = 0.5

/** A call that may start, out of the queue, with the instances that are open to it. Valid until the next `release`. */
export interface Released<T, I extends HoldInstance = HoldInstance> {
  readonly held: T
  /** The first `count` entries. At its deadline these are all that it accepts; none where that is nobody. */
  readonly instances: readonly I[]
  readonly count: number
  readonly why: 'room' | 'deadline'
}

interface Seat<T> {
  readonly held: T
  readonly deadlineMs: number
  readonly sequence: number
  fixedKey: number
  readonly tokens: number
  /** As it was when the front was filled. */
  frontKey: number
  index: number
}

/**
 * The calls of one pool that wait at the router. Invariants: a call sits here once, and leaves once: released, given up, or drained; nobody
 * stays beyond its deadline where `release` is asked at `wakeAtMs`. Strict order: while the first in order does not fit, nobody passes it, so
 * that a large call gets its room; only calls that may not go everywhere are passed over.
 */
export class HoldQueue<T extends HeldCall, I extends HoldInstance = HoldInstance> {
  rule: HoldRule
  #options: HoldQueueOptions
  #fair: FairShare
  readonly #seats: Seat<T>[] = []
  readonly #bySeat = new Map<T, Seat<T>>()
  readonly #open: I[] = []
  /** Room of each instance, and the same where it is ready, else 0. */
  #room = new Float64Array(16)
  #ready = new Float64Array(16)
  readonly #backlog = new Backlog()
  /** The first ones in order as they were found last, and until when that may be relied on. */
  readonly #front: Seat<T>[] = []
  #frontUntilMs = Number.NEGATIVE_INFINITY
  #sequence = 0
  #wakeAtMs = Number.POSITIVE_INFINITY

  constructor(parts: { readonly rule: HoldRule; readonly options?: Partial<HoldQueueOptions> }) {
    this.rule = parts.rule
    this.#options = withDefaults(parts.options)
    this.#fair = new FairShare(this.#options.fairFloorRatio)
  }

  get length(): number {
    return this.#seats.length
  }

  /** Holds by another rule from now on; those who wait keep their seats and are put into its order. */
  takeRule(rule: HoldRule): void {
    this.rule = rule
    this.#front.length = 0
    for (const seat of this.#seats) seat.fixedKey = rule.fixedKey?.(seat.held) ?? 0
  }

  /** Other bounds from now on; who waits keeps the deadline it came with. */
  takeOptions(given: Partial<HoldQueueOptions>, nowMs: number): void {
    const { fairFloorRatio } = this.#options
    this.#options = withDefaults(given)
    if (this.#options.fairFloorRatio === fairFloorRatio) return
    this.#fair = new FairShare(this.#options.fairFloorRatio)
    for (const { held } of this.#seats) this.#fair.joined(held.call.caller.tenant, nowMs)
  }

  /** Earliest deadline, monotonic ms: ask `release` then at the latest. Infinity while nobody waits. */
  get wakeAtMs(): number {
    return this.#wakeAtMs
  }

  /**
   * The way past the queue while nobody waits: the instances that are open to this call, without taking a seat; undefined where it has to `join`. Most
   * calls come this way, and it leaves no trace but in the shares.
   */
  pass(held: T, instances: readonly I[], count: number, nowMs: number): Released<T, I> | undefined {
    if (this.#seats.length > 0 || !(this.#measure(instances, count, nowMs) > 0) || !this.#fitsSomewhere(held, instances, count))
      return undefined
    this.#fair.passed(held.call.caller.tenant, nowMs)
    this.#backlog.started(tokensOf(held), nowMs)
    return { held, instances: this.#open, count: this.#collectOpen(held, instances, count), why: 'room' }
  }

  /** The call waits from now on. False where no seat is free: place it at once. Throws when it sits here already. */
  join(held: T, nowMs: number): boolean {
    if (this.#bySeat.has(held)) throw new Error(`call ${held.call.callId} is held already`)
    if (this.#seats.length >= this.#options.seatsMax) return false
    const { heldMsMax, inTurnFactor } = this.#options
    const mostMs = Math.max(heldMsMax, inTurnFactor * this.#backlog.waitMs(nowMs))
    const deadlineMs = held.arrivedMs + Math.min(mostMs, SLO_SHARE * (held.call.caller.sloTtftMs ?? Number.POSITIVE_INFINITY))
    const fixedKey = this.rule.fixedKey?.(held) ?? 0
    const seat: Seat<T> = {
      held,
      deadlineMs,
      sequence: this.#sequence++,
      fixedKey,
      tokens: tokensOf(held),
      frontKey: 0,
      index: this.#seats.length,
    }
    this.#seats.push(seat)
    this.#backlog.joined(seat.tokens)
    if (this.#front.length > 0) this.#enterFront(seat, nowMs, this.#front.length)
    this.#bySeat.set(held, seat)
    this.#fair.joined(held.call.caller.tenant, nowMs)
    if (deadlineMs < this.#wakeAtMs) this.#wakeAtMs = deadlineMs
    return true
  }

  /**
   * Takes out the next call that may start on one of the first `count` instances; undefined when none may now. Book it in the ledger
   * before asking again: room is read from there.
   */
  release(instances: readonly I[], count: number, nowMs: number): Released<T, I> | undefined {
    if (this.#seats.length === 0) return undefined
    if (this.#wakeAtMs <= nowMs) return this.#releaseOverdue(instances, count, nowMs)
    const most = this.#measure(instances, count, nowMs)
    if (!(most > 0)) return undefined
    const owed = this.#fair.owed(nowMs)
    const seat = (owed === undefined ? undefined : this.#first(instances, count, nowMs, owed)) ?? this.#first(instances, count, nowMs)
    if (!seat) return undefined
    if (
      this.rule.opens ? !this.#fitsSomewhere(seat.held, instances, count) : !seat.held.accepts && this.rule.demandTokens(seat.held) > most
    )
      return undefined
    this.#take(seat, true, nowMs)
    return { held: seat.held, instances: this.#open, count: this.#collectOpen(seat.held, instances, count), why: 'room' }
  }

  /** The caller left: frees the seat. False where the call sits here no more. */
  leave(held: T, nowMs: number): boolean {
    const seat = this.#bySeat.get(held)
    if (!seat) return false
    this.#take(seat, false, nowMs)
    return true
  }

  /** Everybody out, in the order in which they came. */
  drain(nowMs: number): T[] {
    const all = this.#seats.toSorted((a, b) => a.sequence - b.sequence)
    for (const seat of all) this.#take(seat, false, nowMs)
    return all.map((seat) => seat.held)
  }

  #releaseOverdue(instances: readonly I[], count: number, nowMs: number): Released<T, I> {
    let first = this.#seats[0] as Seat<T>
    for (const seat of this.#seats) if (seat.deadlineMs < first.deadlineMs) first = seat
    this.#take(first, true, nowMs)
    const fits = this.#collect(instances, count, (instance) => accepts(first.held, instance))
    return { held: first.held, instances: this.#open, count: fits, why: 'deadline' }
  }

  /** Writes each instance's room and returns the largest of those that are ready. */
  #measure(instances: readonly I[], count: number, nowMs: number): number {
    if (this.#room.length < count) {
      this.#room = new Float64Array(2 * count)
      this.#ready = new Float64Array(2 * count)
    }
    this.rule.look?.({ instances, count, held: this.#seats.length, inTurnMs: this.#backlog.waitMs(nowMs), nowMs })
    let most = 0
    for (let i = 0; i < count; i++) {
      const instance = instances[i] as I
      const room = this.rule.roomTokens(instance)
      const ready = room > 0 && this.rule.isReady(instance) ? room : 0
      this.#room[i] = room
      this.#ready[i] = ready
      if (ready > most) most = ready
    }
    return most
  }

  /** The first in order, of one fairness group or of all. Calls that may not go everywhere count only where they fit. */
  #first(instances: readonly I[], count: number, nowMs: number, tenant?: string): Seat<T> | undefined {
    if (!this.rule.fixedKey || tenant !== undefined) return this.#search(instances, count, nowMs, tenant)
    if (this.#front.length === 0 || nowMs >= this.#frontUntilMs) this.#fillFront(nowMs)
    return this.#front.find(({ held }) => !held.accepts || this.#fitsSomewhere(held, instances, count))
  }

  /** Finds the first ones in order among all, so that not every start looks at everybody. */
  #fillFront(nowMs: number): void {
    this.#front.length = 0
    this.#frontUntilMs = nowMs + FRONT_HOLDS_MS
    for (const seat of this.#seats) this.#enterFront(seat, nowMs, FRONT_CALLS)
  }

  /** The call takes its place in the front, where it goes before one that stands there or the front has room. */
  #enterFront(seat: Seat<T>, nowMs: number, most: number): void {
    const front = this.#front
    seat.frontKey = this.#keyOf(seat, nowMs)
    let at = front.length
    if (at >= most && !(seat.frontKey < (front[at - 1] as Seat<T>).frontKey)) return
    if (at >= most) front.length = --at
    while (at > 0 && (front[at - 1] as Seat<T>).frontKey > seat.frontKey) at--
    front.splice(at, 0, seat)
  }

  #search(instances: readonly I[], count: number, nowMs: number, tenant?: string): Seat<T> | undefined {
    let first: Seat<T> | undefined
    let least = Number.POSITIVE_INFINITY
    for (const seat of this.#seats) {
      const { held } = seat
      if (tenant !== undefined && held.call.caller.tenant !== tenant) continue
      const key = this.#keyOf(seat, nowMs)
      if (first && (key > least || (key === least && seat.sequence > first.sequence))) continue
      if (held.accepts && !this.#fitsSomewhere(held, instances, count)) continue
      first = seat
      least = key
    }
    return first
  }

  #keyOf(seat: Seat<T>, nowMs: number): number {
    return this.rule.key(seat.held, nowMs, seat.fixedKey)
  }

  #fitsSomewhere(held: T, instances: readonly I[], count: number): boolean {
    const demand = this.rule.demandTokens(held)
    for (let i = 0; i < count; i++) {
      if (fitsIn(this.#ready[i], demand) && accepts(held, instances[i] as I) && this.rule.opens?.(held, i) !== false) return true
    }
    return false
  }

  #collectOpen(held: T, instances: readonly I[], count: number): number {
    const demand = this.rule.demandTokens(held)
    const offer = this.rule.readyOnly ? this.#ready : this.#room
    const { rule } = this
    return this.#collect(
      instances,
      count,
      (instance, i) => fitsIn(offer[i], demand) && accepts(held, instance) && rule.opens?.(held, i) !== false,
    )
  }

  #collect(instances: readonly I[], count: number, accept: (instance: I, i: number) => boolean): number {
    let kept = 0
    for (let i = 0; i < count; i++) {
      const instance = instances[i] as I
      if (accept(instance, i)) this.#open[kept++] = instance
    }
    return kept
  }

  #take(seat: Seat<T>, started: boolean, nowMs: number): void {
    const last = this.#seats.pop() as Seat<T>
    if (last !== seat) {
      this.#seats[seat.index] = last
      last.index = seat.index
    }
    this.#bySeat.delete(seat.held)
    this.#backlog.left(seat.tokens)
    if (started) this.#backlog.started(seat.tokens, nowMs)
    const at = this.#front.indexOf(seat)
    if (at >= 0) this.#front.splice(at, 1)
    this.#fair.left(seat.held.call.caller.tenant, started, nowMs)
    if (seat.deadlineMs > this.#wakeAtMs) return
    this.#wakeAtMs = Number.POSITIVE_INFINITY
    for (const one of this.#seats) if (one.deadlineMs < this.#wakeAtMs) this.#wakeAtMs = one.deadlineMs
  }
}

function accepts(held: HeldCall, instance: HoldInstance): boolean {
  return held.accepts === undefined || held.accepts(instance)
}

function fitsIn(roomTokens: number | undefined, demandTokens: number): boolean {
  return roomTokens !== undefined && roomTokens > 0 && roomTokens >= demandTokens
}
