import { FailureJournal } from '../../fleet/failure-journal.ts'
import type { FailureKind } from '../../fleet/health.ts'
import { PrefixIndex } from '../../fleet/prefix-index.ts'
import { RetryBudget } from '../../fleet/retry-budget.ts'
import { createWorkbench } from '../../placement/candidates.ts'
import { chooseEligible, createChoose } from '../../placement/choose.ts'
import { rankOthers } from '../../placement/ranking.ts'
import { KV_BLOCK_TOKENS } from '../profiles.ts'
import { type CallState, NO_FALLBACKS } from './call-table.ts'
import type { TwinEnding, TwinRouterParts } from './router-parts.ts'
import { isOracle, revealOutput } from './truth.ts'
import type { PredictedLength } from './twin-call.ts'
import { type Signals, TwinInstance } from './twin-instance.ts'

/** One router of a simulated fleet: belief of its own, the policy and the hold queue of the real one. */
export class TwinRouter {
  readonly instances: readonly TwinInstance[]
  readonly #parts: TwinRouterParts
  readonly #workbench = createWorkbench()
  readonly #choose
  readonly #prefixes: PrefixIndex
  readonly #journal = new FailureJournal()
  readonly #budget: RetryBudget
  readonly #open: TwinInstance[] = []
  readonly #eligible: TwinInstance[] = []
  readonly #matched: Uint16Array

  constructor(parts: TwinRouterParts) {
    this.#parts = parts
    const { calls, time, options } = parts
    this.instances = parts.machines
      .map((machine) => new TwinInstance({ machine, calls, time, options, mayEject: () => this.#mayEject() }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
    this.#choose = createChoose(parts)
    this.#budget = new RetryBudget(options.retry)
    this.#prefixes = new PrefixIndex(options.prefixBlocksPerInstance)
    this.#matched = new Uint16Array(parts.machines.length)
    for (const { slot, profile } of parts.machines) {
      this.#prefixes.resize(slot, Math.ceil((profile.kvBlocks * KV_BLOCK_TOKENS) / options.prefixBlockTokens))
    }
  }

  /** Earliest deadline of a held call; Infinity without one. */
  get wakeAtMs(): number {
    return this.#parts.hold?.wakeAtMs ?? Number.POSITIVE_INFINITY
  }

  /** A call came, for the first time or again: it is held or placed. */
  arrive(slot: number, nowMs: number): void {
    const call = this.#parts.calls.of(slot)
    call.enteredMs = nowMs
    call.predicted = this.#predict(call)
    call.tried.length = 0
    const { hold } = this.#parts
    if (!hold) {
      this.#place(slot, this.#open, this.#listOpen(nowMs))
      return
    }
    call.held = {
      slot,
      call: call.given.call,
      promptTokens: call.given.promptTokens,
      predictedOutputTokens: call.predicted.tokens,
      arrivedMs: nowMs,
    }
    if (hold.join(call.held, nowMs)) this.release(nowMs)
    else {
      call.held = undefined
      this.#parts.count('hold queue full')
      this.#place(slot, this.#open, this.#listOpen(nowMs))
    }
  }

  /** Places the held calls that may start now. */
  release(nowMs: number): void {
    const { hold, calls } = this.#parts
    if (!hold || hold.length === 0) return
    const count = this.#listOpen(nowMs)
    for (let next = hold.release(this.#open, count, nowMs); next; next = hold.release(this.#open, count, nowMs)) {
      calls.of(next.held.slot).held = undefined
      this.#place(next.held.slot, next.instances as readonly TwinInstance[], next.count)
    }
  }

  firstToken(slot: number, nowMs: number): void {
    const { belief, instance } = this.#parts.calls.of(slot)
    const one = this.#of(instance)
    one.ledger.firstToken(slot, nowMs)
    one.health.firstToken(belief.dispatchedMs, nowMs)
    this.release(nowMs)
  }

  /** The whole answer came. */
  completed(slot: number, nowMs: number): void {
    const call = this.#parts.calls.of(slot)
    const one = this.#of(call.instance)
    this.#unbook(slot, call, one)
    one.health.answered(call.belief.dispatchedMs, nowMs)
    const outputTokens = this.#parts.calls.sequences.outputTokens[slot] as number
    this.#parts.predictor?.learn(call.given.call, outputTokens)
    this.#end(slot, call, 'completed', nowMs)
  }

  /** The caller left, wherever the call is now. */
  left(slot: number, nowMs: number): void {
    const call = this.#parts.calls.of(slot)
    if (call.held) {
      this.#parts.hold?.leave(call.held, nowMs)
      call.held = undefined
    } else if (call.booked) this.#unbook(slot, call, this.#of(call.instance))
    this.#end(slot, call, 'left', nowMs)
  }

  /** The attempt failed: another instance is tried where that may be done, else the caller is told. */
  failed(slot: number, kind: FailureKind, nowMs: number): void {
    const call = this.#parts.calls.of(slot)
    const one = this.#of(call.instance)
    this.#unbook(slot, call, one)
    this.#journal.failed({
      callId: call.given.call.callId,
      health: one.health,
      kind,
      dispatchedMs: call.belief.dispatchedMs,
      nowMs,
    })
    if (one.health.isOut) this.#prefixes.forget(one.slot)
    const next = Number.isNaN(call.belief.firstTokenMs) ? this.#nextFallback(call) : undefined
    if (!next) {
      this.#end(slot, call, 'failed', nowMs)
      return
    }
    this.#parts.count('retried')
    this.#book(slot, next, 0)
    this.#parts.send(slot)
  }

  /** Reads signals of all instances. */
  scrape(signals: Signals, nowMs: number): void {
    for (const one of this.instances) if (one.machine.present) one.scrapeNow(signals, nowMs)
    this.release(nowMs)
  }

  #predict(call: CallState): PredictedLength {
    const { policyName, predictor } = this.#parts
    if (isOracle(policyName)) return { tokens: revealOutput(call.given.outputTokens, policyName) }
    return predictor ? predictor.predict(call.given.call) : (call.given.predicted ?? { tokens: call.given.predictedTokens })
  }

  /** Writes the instances that may take a call to `#open` and returns how many; where nobody may, everybody present. */
  #listOpen(nowMs: number): number {
    if (this.#parts.fresh) for (const one of this.instances) if (one.machine.present) one.scrapeNow('all', nowMs)
    let count = 0
    for (const one of this.instances) {
      if (one.health.state !== 'healthy') one.health.tick(nowMs)
      if (one.takesCalls) this.#open[count++] = one
    }
    if (count === 0) for (const one of this.instances) if (one.isPresent) this.#open[count++] = one
    return count
  }

  #place(slot: number, instances: readonly TwinInstance[], listed: number): void {
    const { calls, policies, retriesPerCall, time } = this.#parts
    const call = calls.of(slot)
    const eligible = this.#eligible
    const count = chooseEligible({ instances, count: listed, eligible })
    if (count === 0) {
      this.#parts.count('no instance')
      this.#end(slot, call, 'failed', time.nowMs)
      return
    }
    const { nowMs } = time
    const blocks = call.given.call.prefixBlocks
    if (blocks.length > 0) this.#prefixes.matchBlocks(blocks, this.#matched)
    const facts = {
      promptTokens: call.given.promptTokens,
      predictedOutputTokens: call.predicted.tokens,
      heldMs: nowMs - call.enteredMs,
      ...(call.predicted.span ? { outputSpan: call.predicted.span } : {}),
    }
    const input = { call: call.given.call, facts, instances: eligible, count, matchedBlocks: this.#matched, nowMs }
    const candidates = this.#workbench.fill(input)
    const out = this.#workbench.out
    const { draw } = this.#choose({ candidates, out, call: call.given.call, policies })
    const one = eligible[draw.index] as TwinInstance
    call.fallbacks =
      retriesPerCall > 0
        ? rankOthers({ candidates, out, chosen: draw.index, most: retriesPerCall + 1 }).map((i) => (eligible[i] as TwinInstance).slot)
        : NO_FALLBACKS
    if (Number.isNaN(call.placedMs)) call.placedMs = nowMs
    call.chosen = one.slot
    this.#budget.pay()
    this.#book(slot, one, blocks.length === 0 ? 0 : (this.#matched[one.slot] as number) / blocks.length)
    policies.policy.onPlaced?.(one, call.given.call, { nowMs, ...facts })
    this.#parts.send(slot)
  }

  #book(slot: number, one: TwinInstance, prefixRatio: number): void {
    const { calls, time } = this.#parts
    const call = calls.of(slot)
    const { belief, given } = call
    belief.promptTokens = given.promptTokens
    belief.uncachedPromptTokens = Math.ceil(given.promptTokens * (1 - prefixRatio))
    belief.predictedOutputTokens = Math.ceil(call.predicted.tokens)
    belief.dispatchedMs = time.nowMs
    belief.firstTokenMs = Number.NaN
    belief.outputTokens = 0
    call.instance = one.slot
    call.attempts++
    call.tried.push(one.slot)
    call.booked = true
    one.ledger.dispatch(slot)
    if (given.call.prefixBlocks.length > 0) this.#prefixes.record(one.slot, given.call.prefixBlocks)
  }

  #unbook(slot: number, call: CallState, one: TwinInstance): void {
    one.ledger.release(slot)
    call.booked = false
  }

  #end(slot: number, call: CallState, ending: TwinEnding, nowMs: number): void {
    const { policies, calls } = this.#parts
    if (policies.policy.onSettled && call.chosen >= 0) {
      const { belief, given } = call
      const completed = ending === 'completed'
      const output = calls.sequences.outputTokens[slot] as number
      const ttftMs = belief.firstTokenMs - belief.dispatchedMs
      policies.policy.onSettled(this.#of(call.chosen), given.call, {
        nowMs,
        completed: completed && call.chosen === call.instance,
        ttftMs,
        tpotMs: completed && output > 1 ? (nowMs - belief.firstTokenMs) / (output - 1) : Number.NaN,
        e2eMs: nowMs - belief.dispatchedMs,
        promptTokens: given.promptTokens,
        outputTokens: completed ? output : Number.NaN,
      })
    }
    this.#parts.over(slot, ending)
    this.release(nowMs)
  }

  #nextFallback(call: CallState): TwinInstance | undefined {
    if (call.attempts > this.#parts.retriesPerCall) return undefined
    for (const slot of call.fallbacks) {
      const one = this.#of(slot)
      if (call.tried.includes(slot) || !one.takesCalls) continue
      if (this.#budget.take()) return one
      this.#parts.count('retry budget used up')
      return undefined
    }
    return undefined
  }

  #of(machine: number): TwinInstance {
    for (const one of this.instances) if (one.slot === machine) return one
    throw new Error(`no instance in slot ${machine}`)
  }

  #mayEject(): boolean {
    let present = 0
    let out = 0
    for (const one of this.instances) {
      if (!one.isPresent) continue
      present++
      if (one.health.isOut) out++
    }
    return out + 1 <= Math.floor(this.#parts.options.health.ejectedRatioMax * present)
  }
}
