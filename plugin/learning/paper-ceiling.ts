import type { Released } from '../hold/hold-queue.ts'
import { createHoldRule, kvTokenSteps } from '../hold/hold-rules.ts'
import type { Holding } from '../hold/holding.ts'
import type { HoldInstance } from '../hold/rule.ts'
import { createLeastRequest } from '../placement/least-request.ts'
import { createRng, type Rng } from '../rng.ts'
import type { HeldSlot } from '../simulation/fleet/call-table.ts'
import { Simulation } from '../simulation/fleet/simulation.ts'
import { revealOutput } from '../simulation/fleet/truth.ts'
import { streamOf, type TwinCall } from '../simulation/fleet/twin-call.ts'
import type { Scenario } from '../simulation/scenario/scenarios.ts'

/** Who knows every length and arrival may decide beforehand where each call goes and in which order an instance takes its calls. */
interface Schedule {
  /** Instance of each call, by ordinal of arrival. */
  readonly instances: Uint8Array
  /** The smallest goes first among those that have arrived. */
  readonly keys: Float64Array
}

/** KV memory that starting calls leave free: tried in turn, the best stays. */
const RESERVES = [0.02, 0.06, 0.1, 0.15]

/** Calls of one instance wait at the router and start in the schedule's order while KV memory has room. */
class ScheduleQueue implements Holding<HeldSlot> {
  readonly wakeAtMs = Number.POSITIVE_INFINITY
  readonly #schedule: Schedule
  readonly #rule
  readonly #waiting: { readonly held: HeldSlot; readonly ordinal: number }[][]
  #length = 0

  constructor({
    schedule,
    instances,
    reserveRatio,
  }: { readonly schedule: Schedule; readonly instances: number; readonly reserveRatio: number }) {
    this.#schedule = schedule
    this.#rule = createHoldRule({ reserveRatio, waitingMax: Number.POSITIVE_INFINITY })
    this.#waiting = Array.from({ length: instances }, () => [])
  }

  get length(): number {
    return this.#length
  }

  join(held: HeldSlot): boolean {
    const ordinal = held.call.callId - 1
    const queue = this.#waiting[this.#schedule.instances[ordinal] as number] as { held: HeldSlot; ordinal: number }[]
    const key = this.#schedule.keys[ordinal] as number
    let at = queue.length
    while (at > 0 && (this.#schedule.keys[(queue[at - 1] as { ordinal: number }).ordinal] as number) > key) at--
    queue.splice(at, 0, { held, ordinal })
    this.#length++
    return true
  }

  release(instances: readonly HoldInstance[], count: number): Released<HeldSlot> | undefined {
    for (let i = 0; i < count; i++) {
      const instance = instances[i] as HoldInstance
      const first = this.#waiting[i]?.[0]
      if (!first || this.#rule.roomTokens(instance) < this.#rule.demandTokens(first.held)) continue
      this.#waiting[i]?.shift()
      this.#length--
      return { held: first.held, instances: [instance], count: 1, why: 'room' }
    }
    return undefined
  }

  leave(): boolean {
    throw new Error('no caller leaves in this workload')
  }
}

/** Time from the first arrival's clock until the last call is over, ms. */
function makespanMs(given: {
  readonly scenario: Scenario
  readonly calls: readonly TwinCall[]
  readonly schedule: Schedule
  readonly reserveRatio: number
}): number {
  const { scenario, calls, schedule, reserveRatio } = given
  return new Simulation({
    fleet: scenario.fleet,
    calls: streamOf(calls),
    policy: createLeastRequest,
    policyName: 'oracle-schedule',
    hold: () => new ScheduleQueue({ schedule, instances: scenario.fleet.length, reserveRatio }),
    rng: createRng(1),
    onEnd: () => undefined,
  }).run().endedMs
}

/** The best schedule that was found, and from where the search set out. */
export interface Ceiling {
  readonly makespanMs: number
  readonly startMs: number
  readonly tried: number
}

/**
 * How short the makespan of a workload can be made by somebody who knows it all: longest KV-time first (Graham's rule, 1969) onto the instance with
 * the least of it, then a local search that moves one stretch of calls or swaps the places of two, keeping what is no worse. A bound from below on the
 * gain that any router can have; the search does not converge in minutes, so the true ceiling lies somewhat above.
 */
export function searchCeiling(plan: {
  readonly scenario: Scenario
  readonly calls: readonly TwinCall[]
  readonly tries: number
  readonly rng: Rng
}): Ceiling {
  const { scenario, calls, rng } = plan
  const best = longestFirst(calls, scenario.fleet.length)
  const tried = RESERVES.map((reserveRatio) => ({ reserveRatio, ms: makespanMs({ scenario, calls, schedule: best, reserveRatio }) }))
  const { reserveRatio, ms: startMs } = tried.reduce((a, b) => (b.ms < a.ms ? b : a))
  let leastMs = startMs
  for (let i = 0; i < plan.tries; i++) {
    const undo = move(best, rng, scenario.fleet.length)
    const ms = makespanMs({ scenario, calls, schedule: best, reserveRatio })
    if (ms <= leastMs) leastMs = ms
    else undo()
  }
  return { makespanMs: leastMs, startMs, tried: plan.tries + RESERVES.length }
}

function longestFirst(calls: readonly TwinCall[], instances: number): Schedule {
  const demand = calls.map((call) =>
    kvTokenSteps({ promptTokens: call.promptTokens, predictedOutputTokens: revealOutput(call.outputTokens, 'oracle-schedule') }),
  )
  const schedule = { instances: new Uint8Array(calls.length), keys: Float64Array.from(demand, (one) => -one) }
  const load = new Float64Array(instances)
  const order = calls.map((_, i) => i).sort((a, b) => (demand[b] as number) - (demand[a] as number))
  for (const call of order) {
    const at = load.indexOf(Math.min(...load))
    schedule.instances[call] = at
    load[at] = (load[at] as number) + (demand[call] as number)
  }
  return schedule
}

/** Calls that one move takes to another instance. */
const MOVED = 8

function move({ instances, keys }: Schedule, rng: Rng, count: number): () => void {
  const [a, b] = [rng.int(keys.length), rng.int(keys.length)]
  if (rng.next() < 0.5) {
    const [keyA, keyB] = [keys[a] as number, keys[b] as number]
    keys[a] = keyB
    keys[b] = keyA
    return () => {
      keys[a] = keyA
      keys[b] = keyB
    }
  }
  const before = instances.slice(a, a + MOVED)
  for (let i = a; i < Math.min(keys.length, a + MOVED); i++) if (rng.next() < 0.5) instances[i] = rng.int(count)
  return () => instances.set(before, a)
}
