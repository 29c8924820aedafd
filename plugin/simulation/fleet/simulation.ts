import { FLEET_DEFAULTS } from '../../fleet/options.ts'
import { enginePriority } from '../../hold/engine-priority.ts'
import { createLeastRequest } from '../../placement/least-request.ts'
import { type CallState, CallTable } from './call-table.ts'
import {
  CONNECT_FAILED,
  DELIVER,
  END,
  EventQueue,
  FIRST_TOKEN,
  LEAVE,
  REFUSED,
  RESET,
  RETURN,
  SCRAPE,
  SCRIPT,
  WAKE,
} from './event-queue.ts'
import { type FleetEvent, Machine, sumCounters } from './machine.ts'
import type { TwinEnding } from './router-parts.ts'
import { ScrapePlan } from './scrape-plan.ts'
import type { CallEnd, SimulationOptions, SimulationTotals } from './simulation-options.ts'
import { revealOutput } from './truth.ts'
import type { TwinCall } from './twin-call.ts'
import type { SimulatedTime } from './twin-ledger.ts'
import { TwinRouter } from './twin-router.ts'

/** 50 ms, as llm-d scrapes. */
const SCRAPE_MS = 50

/**
 * A fleet of simulated instances behind routers, by discrete events. Deterministic: the same options and seed give the same run (I6).
 * Ties go to arrivals, then to what was planned first, then to engines by their slot.
 */
export class Simulation {
  readonly #options: SimulationOptions
  readonly #time: SimulatedTime = { nowMs: 0 }
  readonly #calls = new CallTable()
  readonly #events = new EventQueue()
  readonly #machines: readonly Machine[]
  readonly #routers: readonly TwinRouter[]
  readonly #scrapes: ScrapePlan
  readonly #awakeMs: number[]
  readonly #networkMs: number
  #arrived = 0
  #started = false
  #next: TwinCall | undefined

  constructor(options: SimulationOptions) {
    this.#options = options
    this.#networkMs = options.networkMs ?? 0
    this.#machines = options.fleet.map((spec, slot) => new Machine(spec, slot, this.#calls.sequences))
    this.#routers = Array.from({ length: options.routers ?? 1 }, (_, i) => this.#createRouter(i))
    this.#awakeMs = this.#routers.map(() => Number.POSITIVE_INFINITY)
    for (const [i, event] of options.script?.entries() ?? []) this.#events.push(event.atMs, { kind: SCRIPT, a: i })
    this.#scrapes = new ScrapePlan(this.#events, options.scrapeMs ?? SCRAPE_MS)
    this.#scrapes.start(this.#routers.length)
  }

  /** Plays until every call is over. */
  run(): SimulationTotals {
    this.advance(Number.POSITIVE_INFINITY)
    return this.totals()
  }

  /** Plays on up to `untilMs`, so that somebody may learn in between. False once every call is over. */
  advance(untilMs: number): boolean {
    if (!this.#started) this.#next = this.#options.calls.next()
    this.#started = true
    while (this.#next || this.#calls.underWay > 0) {
      if (this.#time.nowMs >= untilMs) return true
      this.#step()
    }
    return false
  }

  /** What came of it so far. */
  totals(): SimulationTotals {
    return { arrived: this.#arrived, endedMs: this.#time.nowMs, ...sumCounters(this.#machines) }
  }

  #createRouter(index: number): TwinRouter {
    const { options, rng, scrapeMs } = this.#options
    return new TwinRouter({
      calls: this.#calls,
      machines: this.#machines,
      time: this.#time,
      options: options ?? FLEET_DEFAULTS,
      policies: { policy: this.#options.policy(index), fallbackPolicy: createLeastRequest(), explorationRatio: 0 },
      policyName: this.#options.policyName,
      hold: this.#options.hold?.(index),
      predictor: this.#options.predictor?.(index),
      rng: rng.stream(`router ${index}`),
      retriesPerCall: this.#options.script ? (this.#options.retriesPerCall ?? 2) : 0,
      fresh: scrapeMs === 0,
      count: this.#options.count ?? (() => undefined),
      send: (slot) => this.#send(slot),
      over: (slot, ending) => this.#over(slot, ending),
    })
  }

  #step(): void {
    const arrivalMs = this.#next?.atMs ?? Number.POSITIVE_INFINITY
    const eventMs = this.#events.nextMs
    let dueMs = Number.POSITIVE_INFINITY
    let due: Machine | undefined
    for (const machine of this.#machines) {
      if (machine.dueMs >= dueMs) continue
      dueMs = machine.dueMs
      due = machine
    }
    if (arrivalMs <= eventMs && arrivalMs <= dueMs) {
      this.#time.nowMs = arrivalMs
      this.#arrive(this.#next as TwinCall)
    } else if (eventMs <= dueMs) {
      this.#time.nowMs = eventMs
      this.#happen()
    } else if (due) {
      this.#time.nowMs = dueMs
      this.#turn(due)
    } else throw new Error(`${this.#calls.underWay} calls are under way and nothing will happen`)
    this.#planWakes()
  }

  #arrive(call: TwinCall): void {
    const router = this.#arrived++ % this.#routers.length
    const slot = this.#calls.admit(call, router)
    if (call.leavesAfterMs !== undefined) this.#plan(call.leavesAfterMs, LEAVE, slot)
    this.#next = this.#options.calls.next()
    this.#router(router).arrive(slot, call.atMs)
  }

  /** The router obeys its decision: the call goes to its instance. */
  #send(slot: number): void {
    const delayMs = (this.#options.decisionMs ?? 0) + this.#networkMs
    if (delayMs === 0) this.#deliver(slot)
    else this.#plan(delayMs, DELIVER, slot)
  }

  #deliver(slot: number): void {
    const call = this.#calls.of(slot)
    const machine = this.#machines[call.instance] as Machine
    if (!machine.alive) {
      this.#tell(CONNECT_FAILED, slot)
      return
    }
    const { sequences } = this.#calls
    const { given } = call
    if (given.promptTokens >= machine.core.maxContextTokens) {
      this.#tell(REFUSED, slot)
      return
    }
    sequences.promptTokens[slot] = given.promptTokens
    sequences.outputTokens[slot] = revealOutput(given.outputTokens, 'engine')
    sequences.blockHashes[slot] = given.blockHashes
    sequences.priority[slot] = this.#options.enginePriority
      ? enginePriority({ call: given.call, promptTokens: given.promptTokens, predictedOutputTokens: call.predicted.tokens })
      : -given.call.caller.priority
    machine.core.submit(slot)
    call.inEngine = true
    machine.disturb(this.#time.nowMs)
  }

  /** The run of a machine's engine is through: tells what came of it and begins the next. */
  #turn(machine: Machine): void {
    const { nowMs } = this.#time
    const { core } = machine
    if (core.busy) {
      core.complete()
      const { first, finished, aborted } = core.events
      for (const slot of finished) this.#calls.of(slot).inEngine = false
      for (const slot of first) this.#tell(FIRST_TOKEN, slot)
      for (const slot of finished) this.#tell(END, slot)
      for (const slot of aborted) this.#outOfEngine(slot)
    }
    machine.begin(nowMs)
  }

  /** The router hears of it one network way later. A failure comes as an event of its own even without any, so that no decision is made inside another. */
  #tell(kind: number, slot: number): void {
    if (this.#networkMs === 0 && (kind === FIRST_TOKEN || kind === END)) this.#hear(kind, slot)
    else this.#plan(this.#networkMs, kind, slot)
  }

  #hear(kind: number, slot: number): void {
    const call = this.#calls.of(slot)
    if (call.settled) return
    const { nowMs } = this.#time
    const router = this.#router(call.router)
    if (kind === FIRST_TOKEN) {
      call.firstTokenMs = nowMs
      router.firstToken(slot, nowMs)
    } else if (kind === END) router.completed(slot, nowMs)
    else router.failed(slot, kind === CONNECT_FAILED ? 'connect' : kind === RESET ? 'reset' : 'status', nowMs)
  }

  /** Something happens to the call, unless it is over by then. */
  #plan(inMs: number, kind: number, slot: number): void {
    this.#events.push(this.#time.nowMs + inMs, { kind, a: slot, b: this.#calls.generation[slot] as number })
  }

  #happen(): void {
    const events = this.#events
    events.pop()
    const { kind, a, b } = events
    const { nowMs } = this.#time
    switch (kind) {
      case SCRAPE:
        this.#router(a).scrape(this.#scrapes.happened(nowMs, a, b), nowMs)
        return
      case SCRIPT:
        this.#play((this.#options.script as readonly FleetEvent[])[a] as FleetEvent)
        return
      case WAKE:
        this.#awakeMs[a] = Number.POSITIVE_INFINITY
        this.#router(a).release(nowMs)
        return
      default:
        if (this.#calls.generation[a] === b) this.#happenTo(a, kind)
    }
  }

  #happenTo(slot: number, kind: number): void {
    const call = this.#calls.of(slot)
    const { nowMs } = this.#time
    if (call.settled) return
    if (kind === DELIVER) this.#deliver(slot)
    else if (kind === RETURN) {
      call.instance = -1
      this.#router(call.router).arrive(slot, nowMs)
    } else if (kind === LEAVE) this.#router(call.router).left(slot, nowMs)
    else this.#hear(kind, slot)
  }

  #play(event: FleetEvent): void {
    const machine = this.#machines.find((one) => one.name === event.instance)
    if (!machine) throw new Error(`the script names ${event.instance}, which is not in the fleet`)
    for (const slot of machine.play(event, this.#time.nowMs)) {
      if (this.#calls.of(slot).settled) this.#outOfEngine(slot)
      else {
        this.#calls.of(slot).inEngine = false
        this.#tell(RESET, slot)
      }
    }
  }

  #over(slot: number, ending: TwinEnding): void {
    const call = this.#calls.of(slot)
    const { clientRetries } = this.#options
    if (ending === 'failed' && clientRetries && call.returns < clientRetries.times) {
      call.returns++
      this.#plan(clientRetries.afterMs, RETURN, slot)
      return
    }
    call.settled = true
    this.#options.onEnd(this.#endOf(slot, call, ending))
    if (!call.inEngine) {
      this.#calls.dismiss(slot)
      return
    }
    const machine = this.#machines[call.instance] as Machine
    if (machine.core.abort(slot)) this.#outOfEngine(slot)
    machine.disturb(this.#time.nowMs)
  }

  #outOfEngine(slot: number): void {
    this.#calls.of(slot).inEngine = false
    this.#calls.dismiss(slot)
  }

  #endOf(slot: number, call: CallState, ending: TwinEnding): CallEnd {
    const { sequences } = this.#calls
    return {
      call: call.given,
      index: call.index,
      ending,
      arrivedMs: call.arrivedMs,
      placedMs: call.placedMs,
      firstTokenMs: call.firstTokenMs,
      endedMs: this.#time.nowMs,
      outputTokens: ending === 'completed' ? (sequences.outputTokens[slot] as number) : 0,
      router: call.router,
      instance: call.instance,
      preemptions: sequences.preemptions[slot] as number,
    }
  }

  #planWakes(): void {
    if (!this.#options.hold) return
    this.#routers.forEach((router, i) => {
      if (router.wakeAtMs >= (this.#awakeMs[i] as number)) return
      this.#awakeMs[i] = router.wakeAtMs
      this.#events.push(Math.max(router.wakeAtMs, this.#time.nowMs), { kind: WAKE, a: i })
    })
  }

  #router(index: number): TwinRouter {
    return this.#routers[index] as TwinRouter
  }
}
