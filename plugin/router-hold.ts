import type { Fleet, LiveInstance } from './fleet/fleet.ts'
import { HoldQueue, type Released } from './hold/hold-queue.ts'
import type { HoldQueueOptions } from './hold/hold-queue-options.ts'
import { createHoldRule, type HoldRuleOptions } from './hold/hold-rules.ts'
import type { HeldCall, HoldRule } from './hold/rule.ts'
import { kvCapacityTokens } from './placement/belief.ts'
import { chooseEligible } from './placement/choose.ts'

/** How a pool's calls are held. */
export interface HoldSetting {
  /** 'capacity known': only while every candidate tells its KV capacity, else nothing is held and the reason is shown. */
  readonly when: 'always' | 'capacity known'
  readonly rule: HoldRuleOptions
  /** The rule itself, where it is not one of those that differ in order alone. */
  readonly createRule?: () => HoldRule
  readonly queue?: Partial<HoldQueueOptions> | undefined
}

/** Holding as it is shown: what order, how many now, and why not where it is off. */
export interface HoldState {
  readonly pool: string
  readonly order: string
  readonly held: number
  /** Absent while holding is on. */
  readonly offReason?: string
}

/** A call that may wait: how it is started once it may, and how it is refused when the router goes away. */
export interface Waiting extends HeldCall {
  /** Places and books the call, at once. `instances` are those that are open to it; absent: whoever may take it. */
  readonly start: (released: { readonly instances?: readonly LiveInstance[]; readonly nowMs: number }) => void
  readonly shed: (nowMs: number) => void
}

export interface HoldParts {
  readonly pool: string
  readonly setting: HoldSetting
  readonly fleet: Pick<Fleet, 'candidates'>
  readonly count: (what: string) => void
}

/**
 * The router's side of one pool's queue: who may start is asked on every event that can free something, and each start is booked before the
 * next is asked. Nothing here keeps time: `pump` must be called at least as often as deadlines are to be kept.
 */
export class PoolHold {
  readonly #parts: Omit<HoldParts, 'setting'>
  readonly #queue: HoldQueue<Waiting, LiveInstance>
  #setting: HoldSetting
  readonly #eligible: LiveInstance[] = []
  #pumping = false
  #shed = false
  #suspended = false

  constructor(parts: HoldParts) {
    this.#parts = parts
    this.#setting = parts.setting
    const { queue } = parts.setting
    this.#queue = new HoldQueue({ rule: createRuleOf(parts.setting), ...(queue ? { options: queue } : {}) })
  }

  /** Calls are held by another rule from now on; those who wait stay. */
  takeRule(rule: HoldRule): void {
    this.#queue.takeRule(rule)
  }

  /** Calls are held by this setting from now on, its rule apart (`takeRule`); those who wait keep the deadlines they came with. */
  configure(setting: HoldSetting, nowMs: number): void {
    this.#setting = setting
    this.#queue.takeOptions(setting.queue ?? {}, nowMs)
  }

  /** Calls held now. */
  get held(): number {
    return this.#queue.length
  }

  state(): HoldState {
    const offReason = this.#offReason()
    return {
      pool: this.#parts.pool,
      order: this.#queue.rule.name,
      held: this.held,
      ...(offReason === undefined ? {} : { offReason }),
    }
  }

  /**
   * The call starts within this very call where something is open to it, or where it is not to be held at all: holding is off, there is nobody to wait
   * for, no seat is left, or the process is going away. False: it waits.
   */
  offer(waiting: Waiting, nowMs: number): boolean {
    const count = this.#look()
    if (this.#shed || count === 0 || (this.held === 0 && this.#offReason() !== undefined)) {
      waiting.start({ nowMs })
      return true
    }
    const passed = this.#queue.pass(waiting, this.#eligible, count, nowMs)
    if (passed) {
      waiting.start({ instances: passed.instances.slice(0, passed.count), nowMs })
      return true
    }
    if (this.#queue.join(waiting, nowMs)) {
      this.pump(nowMs)
      return false
    }
    this.#parts.count('hold queue full')
    waiting.start({ nowMs })
    return true
  }

  /** Starts everybody who may start now. A start that asks for more while this runs is served by this same run. */
  pump(nowMs: number): void {
    if (this.held === 0 || this.#pumping) return
    this.#pumping = true
    try {
      for (let next = this.#next(nowMs); next; next = this.#next(nowMs)) {
        const instances = next.instances.slice(0, next.count)
        if (next.why === 'deadline') this.#parts.count('held to the deadline')
        next.held.start(instances.length === 0 ? { nowMs } : { instances, nowMs })
      }
    } finally {
      this.#pumping = false
    }
  }

  /** The caller left. False where the call waits here no more. */
  leave(waiting: Waiting, nowMs: number): boolean {
    return this.#queue.leave(waiting, nowMs)
  }

  /** Refuses everybody who waits: the process is going away. */
  shed(nowMs: number): void {
    this.#shed = true
    for (const waiting of this.#queue.drain(nowMs)) waiting.shed(nowMs)
  }

  /** While suspended nothing waits: who does now starts at once, later ones start as they come. */
  suspend(suspended: boolean, nowMs: number): void {
    this.#suspended = suspended
    if (suspended) for (const waiting of this.#queue.drain(nowMs)) waiting.start({ nowMs })
  }

  #next(nowMs: number): Released<Waiting, LiveInstance> | undefined {
    return this.held === 0 ? undefined : this.#queue.release(this.#eligible, this.#look(), nowMs)
  }

  /** Writes who may take a call to `#eligible` and returns how many they are. */
  #look(): number {
    const { instances, count } = this.#parts.fleet.candidates(this.#parts.pool)
    return chooseEligible({ instances, count, eligible: this.#eligible })
  }

  #offReason(): string | undefined {
    if (this.#suspended) return 'Phasewise is switched off'
    if (this.#setting.when === 'always') return undefined
    const { instances, count } = this.#parts.fleet.candidates(this.#parts.pool)
    for (let i = 0; i < count; i++) {
      const instance = instances[i] as LiveInstance
      if (!(kvCapacityTokens(instance) > 0)) return `${instance.name} does not tell its KV capacity`
    }
    return undefined
  }
}

/** A fresh rule as the setting has it. */
export function createRuleOf({ rule, createRule }: HoldSetting): HoldRule {
  return createRule?.() ?? createHoldRule(rule)
}
