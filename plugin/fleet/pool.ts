import { FailureJournal } from './failure-journal.ts'
import type { InstanceState } from './instance.ts'
import { type InstanceConfig, LiveInstance } from './live-instance.ts'
import type { FleetOptions } from './options.ts'
import { PrefixIndex } from './prefix-index.ts'
import { RetryBudget } from './retry-budget.ts'

/** The instances that may take a call now. Reused: the next `candidates` of the same pool overwrites it. */
export interface CandidateList {
  readonly count: number
  /** The first `count` entries are the candidates, in name order. */
  readonly instances: readonly LiveInstance[]
  /** Nothing healthy was left and these are ejected ones: any reachable instance is better than none. */
  readonly failOpen: boolean
}

/** One state change, for counters and the log. */
export interface StateChange {
  readonly instance: LiveInstance
  readonly from: InstanceState
  readonly to: InstanceState
  readonly reason: string | undefined
}

/** What a reconcile did. `ignored`: entries whose name stood earlier in the list. */
export interface Reconciled {
  readonly added: number
  readonly removed: number
  readonly changed: number
  readonly ignored: number
}

interface PoolParts {
  readonly name: string
  readonly options: FleetOptions
  readonly onStateChange: (change: StateChange) => void
}

/**
 * The instances that serve one model name. Invariants: a slot belongs to one instance from joining to leaving; who left the list
 * takes no new call and leaves when its last one ended; at most `ejectedRatioMax` of those present are out at once.
 */
export class Pool {
  readonly name: string
  readonly journal = new FailureJournal()
  readonly budget: RetryBudget
  readonly prefixes: PrefixIndex
  readonly #parts: PoolParts
  readonly #drained = new Set<string>()
  readonly #slots: (LiveInstance | undefined)[] = []
  /** In name order, leavers included. */
  #members: LiveInstance[] = []
  readonly #candidates = { count: 0, instances: [] as LiveInstance[], failOpen: false }

  constructor(parts: PoolParts) {
    this.name = parts.name
    this.#parts = parts
    this.budget = new RetryBudget(parts.options.retry)
    this.prefixes = new PrefixIndex(parts.options.prefixBlocksPerInstance)
  }

  get members(): readonly LiveInstance[] {
    return this.#members
  }

  get slotBound(): number {
    return this.#slots.length
  }

  find(name: string): LiveInstance | undefined {
    return this.#members.find((one) => one.name === name && !one.leaving) ?? this.#members.find((one) => one.name === name)
  }

  candidates(): CandidateList {
    const list = this.#candidates
    this.#fill((one) => one.takesCalls)
    list.failOpen = list.count === 0
    if (list.failOpen) this.#fill((one) => one.isPresent)
    list.failOpen = list.failOpen && list.count > 0
    return list
  }

  reconcile(desired: readonly InstanceConfig[]): Reconciled {
    const wanted = new Map<string, InstanceConfig>()
    for (const config of desired) if (!wanted.has(config.name)) wanted.set(config.name, config)
    const done = { added: 0, removed: 0, changed: 0, ignored: desired.length - wanted.size }
    for (const one of this.#members) {
      const config = wanted.get(one.name)
      if (config?.url === one.url) {
        wanted.delete(one.name)
        if (one.leaving) done.added++
        else if (one.speed !== config.speed || one.weight !== config.weight) done.changed++
        this.#adopt(one, config)
      } else if (!one.leaving) {
        one.leaving = true
        done.removed++
        this.sync(one)
      }
    }
    for (const config of wanted.values()) this.#join(config)
    done.added += wanted.size
    this.dismissLeavers()
    return done
  }

  /** False where the name was in that state already. */
  setDrained(name: string, drained: boolean): boolean {
    if (this.#drained.has(name) === drained) return false
    if (drained) this.#drained.add(name)
    else this.#drained.delete(name)
    for (const one of this.#members) {
      if (one.name !== name) continue
      one.drained = drained
      this.sync(one)
    }
    return true
  }

  /** Lets go of leavers without calls. */
  dismissLeavers(): void {
    if (!this.#members.some((one) => one.leaving && one.ledger.inFlight === 0)) return
    this.#members = this.#members.filter((one) => {
      if (!one.leaving || one.ledger.inFlight > 0) return true
      this.#slots[one.slot] = undefined
      this.prefixes.forget(one.slot)
      return false
    })
  }

  /** Brings an instance's face up to date with what happened to it, and tells a change of state. */
  sync(one: LiveInstance): void {
    one.slowStartRatio = one.health.slowStartRatio
    const to = stateOf(one)
    const from = one.state
    if (from === to) return
    one.state = to
    this.#parts.onStateChange({ instance: one, from, to, reason: one.stateReason })
  }

  #adopt(one: LiveInstance, config: InstanceConfig): void {
    one.speed = config.speed
    one.weight = config.weight
    one.leaving = false
    this.sync(one)
  }

  #join(config: InstanceConfig): void {
    const free = this.#slots.indexOf(undefined)
    const slot = free < 0 ? this.#slots.length : free
    const { options } = this.#parts
    const one = new LiveInstance({ slot, pool: this.name, config, options, mayEject: (who) => this.#mayEject(who) })
    one.drained = this.#drained.has(config.name)
    this.#slots[slot] = one
    this.#members.push(one)
    this.#members.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.slot - b.slot))
    this.sync(one)
  }

  #mayEject(who: LiveInstance): boolean {
    if (!who.isPresent) return true
    let present = 0
    let out = 0
    for (const one of this.#members) {
      if (!one.isPresent) continue
      present++
      if (one.health.isOut) out++
    }
    return out + 1 <= Math.floor(this.#parts.options.health.ejectedRatioMax * present)
  }

  #fill(accept: (one: LiveInstance) => boolean): void {
    let count = 0
    for (const one of this.#members) if (accept(one)) this.#candidates.instances[count++] = one
    this.#candidates.count = count
  }
}

function stateOf(one: LiveInstance): InstanceState {
  if (one.leaving) return 'removed'
  return one.drained ? 'draining' : one.health.state
}
