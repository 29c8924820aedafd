import { type GuardedCall, type KeptCall, OfferedLoad, ROW_WIDTH } from './guard-calls.ts'
import { Reference, STRETCHES, type Stretch } from './guard-reference.ts'
import { type Lateness, LateTail } from './guard-tail.ts'
import { median } from './median.ts'

/** Why a canary is withdrawn. */
export interface Withdrawal {
  readonly signal: 'fallbacks' | 'errors' | 'decision time' | 'TTFT' | 'TTFT p99' | 'E2E' | 'holds' | 'share'
  readonly words: string
  /** How many strays of control's own beyond what is expected; Infinity where control never does it. */
  readonly deviations: number
  /** Challenger calls judged, and all since the canary began. */
  readonly windowCalls: number
  readonly challengerCalls: number
}

/** Calls of the challenger that are remembered: two of the longer stretches at a thousand calls per second. */
const CHALLENGER_MAX = 60_000
/** Calls that suffice where the model is broken rather than bad: its policy fails, or takes its time to decide. */
const BROKEN_CALLS = 25
const BROKEN_RATIO = 0.05
/**
 * Strays beyond which a mean is a harm, and how large it must be besides. Chosen by A/A runs of the twin (`npm run bench -- trust`): the guard looks thousands of times in a
 * canary's life, and the strays of queues have long tails.
 */
const DEVIATIONS = 6
const E2E_LEAST = Math.log(2)
/** Higher than that of E2E: one queue where memory is full doubles the TTFT of a whole stretch. */
const TTFT_LEAST = Math.log(3)
/** On top of the worst stray of control, in units of the figure. Chosen with the deviations. */
const SPARE = 0.1
const RATE_LEAST = 0.05
const HELD_LEAST = 0.25
/** A decision may take this long on top of what control's take; the bar of the decision itself is 50 µs. */
const DECISION_SPARE_MS = 10
const SHARE_MOST = 0.9
const SHARE_OF_CONTROL = 0.7
const FLOOR_MS = 5
const SHARE_MEMORY = 1 / 2_000

/**
 * Watches one pool's canary. It is told of every call of every arm as it is placed, of its first token and of its end, and judges the challenger's newest calls
 * against control calls at the same offered load. Calls under way count with the time they have waited so far, so that a queue that never answers is seen as
 * well as a slow one. No clock of its own; all times are of one monotonic clock.
 */
export class CanaryGuard {
  readonly #open = new Map<number, KeptCall>()
  readonly #load = new OfferedLoad()
  readonly #ttft = new Reference({ width: ROW_WIDTH, spare: SPARE })
  readonly #e2e = new Reference({ width: ROW_WIDTH, spare: SPARE })
  readonly #tail = new LateTail()
  readonly #held = new Reference({ width: 1, spare: SPARE })
  #challenger: KeptCall[] = []
  #challengerCalls = 0
  #block = Number.NaN
  #last: Pick<GuardedCall, 'arm' | 'nowMs'> = { arm: 'control', nowMs: 0 }
  #servedMs = 0
  #errorRatio = 0
  #decisionMs = 0
  readonly #shares = new Map<string, number>()

  /** Control calls suffice to judge by: a challenger may get its first block. */
  get isReady(): boolean {
    return this.#ttft.isReady && this.#e2e.isReady && this.#tail.isReady
  }

  placed(call: GuardedCall): void {
    const row = this.#load.rowOf(call, this.#open.size)
    const arrivedMs = call.nowMs - call.heldMs
    const kept: KeptCall = { ...call, arrivedMs, row, servedMs: this.#serve(call), firstTokenMs: Number.NaN, endedMs: Number.NaN, ok: true }
    this.#open.set(call.callId, kept)
    if (call.block !== this.#block) {
      this.#block = call.block
      for (const one of [this.#ttft, this.#e2e, this.#tail, this.#held]) one.freeze()
    }
    if (call.arm !== 'challenger') return
    this.#challengerCalls++
    this.#challenger.push(kept)
    if (this.#challenger.length > 2 * CHALLENGER_MAX) this.#challenger = this.#challenger.slice(-CHALLENGER_MAX)
  }

  firstToken(callId: number, nowMs: number): void {
    const call = this.#open.get(callId)
    if (call && Number.isNaN(call.firstTokenMs)) this.#begin(call, nowMs)
  }

  /** `ok`: no instance failed it. A caller who left is no failure. */
  ended(callId: number, how: { readonly nowMs: number; readonly ok: boolean }): void {
    const call = this.#open.get(callId)
    if (!call) return
    this.#open.delete(callId)
    call.endedMs = how.nowMs
    call.ok = how.ok
    // An answer that came whole showed no first token before its end.
    if (Number.isNaN(call.firstTokenMs)) this.#begin(call, how.nowMs)
    if (call.arm === 'control') this.#learn(call, how.nowMs)
  }

  /** Looks at the challenger's newest calls; a harm that is proven comes back with its proof. To be asked every second. */
  judge(nowMs: number): Withdrawal | undefined {
    const broken = this.#judgeBroken()
    if (broken) return { ...broken, windowCalls: BROKEN_CALLS, challengerCalls: this.#challengerCalls }
    if (!this.isReady) return undefined
    for (const [index, stretch] of STRETCHES.entries()) {
      const calls = this.#newest(stretch)
      const found = calls && this.#judgeStretch(calls, index, nowMs)
      if (found) return { ...found, windowCalls: calls.length, challengerCalls: this.#challengerCalls }
    }
    return undefined
  }

  /** The time that the challenger has served: a block of its goes on where its last one ended. */
  #serve({ arm, nowMs }: GuardedCall): number {
    if (arm === 'challenger' && this.#last.arm === arm) this.#servedMs += nowMs - this.#last.nowMs
    this.#last = { arm, nowMs }
    return this.#servedMs
  }

  #begin(call: KeptCall, nowMs: number): void {
    call.firstTokenMs = nowMs
    // In the order of first tokens, which is nearly that of placing: an instance's queue stays together.
    if (call.arm === 'control' && this.#ttft.isFitted) this.#tail.learn(latenessOf(call, this.#ttft, nowMs), nowMs)
  }

  #learn(call: KeptCall, nowMs: number): void {
    const ttft = ttftOf(call, nowMs)
    this.#ttft.learn(call.row, ttft, nowMs)
    this.#e2e.learn(call.row, e2eOf(call, nowMs), nowMs)
    this.#held.learn(ONE, call.heldMs > 0 ? 1 : 0, nowMs)
    this.#errorRatio += SHARE_MEMORY * ((call.ok ? 0 : 1) - this.#errorRatio)
    this.#decisionMs += 0.01 * (call.decisionMs - this.#decisionMs)
    for (const [instance, ratio] of this.#shares) this.#shares.set(instance, ratio * (1 - SHARE_MEMORY))
    this.#shares.set(call.instance, (this.#shares.get(call.instance) ?? 0) + SHARE_MEMORY)
  }

  /** The newest challenger calls that make up a stretch; undefined where there are too few. */
  #newest({ spanMs, calls }: Stretch): readonly KeptCall[] | undefined {
    const all = this.#challenger
    const lastMs = all.at(-1)?.servedMs ?? 0
    let from = all.length - calls
    if (from < 0) return undefined
    while (from > 0 && lastMs - (all[from] as KeptCall).servedMs < spanMs) from--
    return lastMs - (all[from] as KeptCall).servedMs < spanMs ? undefined : all.slice(from)
  }

  #judgeBroken(): Found | undefined {
    if (this.#challenger.length < BROKEN_CALLS) return undefined
    const calls = this.#challenger.slice(-BROKEN_CALLS)
    const fallen = ratioOf(calls, (call) => call.fellBack)
    if (fallen > BROKEN_RATIO) return found('fallbacks', `its policy failed on ${share(fallen)} of its last ${BROKEN_CALLS} calls`, ALWAYS)
    const slow = median(calls.map((call) => call.decisionMs))
    if (slow <= this.#decisionMs + DECISION_SPARE_MS) return undefined
    return found('decision time', `it decides in ${slow.toFixed(1)} ms, control in ${this.#decisionMs.toFixed(2)} ms`, ALWAYS)
  }

  #judgeStretch(calls: readonly KeptCall[], index: number, nowMs: number): Found | undefined {
    const ttft = residualsOf(calls, this.#ttft, nowMs, ttftOf)
    const e2e = residualsOf(calls, this.#e2e, nowMs, e2eOf)
    return (
      this.#judgeErrors(calls) ??
      judgeLater({ name: 'TTFT', least: TTFT_LEAST }, ttft, this.#ttft, index) ??
      judgeLater({ name: 'E2E', least: E2E_LEAST }, e2e, this.#e2e, index) ??
      this.#judgeTail(calls, index, nowMs) ??
      this.#judgeHolds(calls, index) ??
      this.#judgeShare(calls, { ttft, e2e })
    )
  }

  #judgeErrors(calls: readonly KeptCall[]): Found | undefined {
    const failed = ratioOf(calls, (call) => !call.ok)
    const over = failed - this.#errorRatio
    const stray = Math.sqrt(Math.max(this.#errorRatio, 0.01) / calls.length)
    if (over < RATE_LEAST || over < DEVIATIONS * stray) return undefined
    return found('errors', `${share(failed)} of its calls failed, ${share(this.#errorRatio)} of control's`, over / stray)
  }

  #judgeTail(calls: readonly KeptCall[], index: number, nowMs: number): Found | undefined {
    const ratio = this.#tail.count(calls.map((call) => latenessOf(call, this.#ttft, nowMs))) / calls.length
    if (ratio < this.#tail.bound(index, DEVIATIONS)) return undefined
    const words = `${share(ratio)} of its calls, one by one, took more than twice as long to the first token as 99 of 100 of control's at the same load`
    return found('TTFT p99', words, ratio / Math.max(1e-3, this.#tail.strayOf(index)))
  }

  #judgeHolds(calls: readonly KeptCall[], index: number): Found | undefined {
    const held = ratioOf(calls, (call) => call.heldMs > 0)
    const usual = this.#held.expect(ONE)
    const over = held - usual
    if (over < HELD_LEAST || over < this.#held.bound(index, DEVIATIONS)) return undefined
    return found(
      'holds',
      `${share(held)} of its calls were held, ${share(usual)} of control's`,
      over / Math.max(1e-3, this.#held.strayOf(index)),
    )
  }

  /** Nearly all on one instance that control does not load so, and nothing gained by it: where one is fast and idle, that is the right choice. */
  #judgeShare(calls: readonly KeptCall[], { ttft, e2e }: { readonly ttft: readonly number[]; readonly e2e: readonly number[] }) {
    if (this.#shares.size < 2 || meanOf(ttft) < 0 || meanOf(e2e) < 0) return undefined
    for (const [instance, own] of Map.groupBy(calls, (call) => call.instance)) {
      const ratio = own.length / calls.length
      const control = this.#shares.get(instance) ?? 0
      if (ratio < SHARE_MOST || control > SHARE_OF_CONTROL) continue
      return found(
        'share',
        `${share(ratio)} of its calls went to ${instance}, ${share(control)} of control's, and they neither began nor ended sooner for it`,
        ALWAYS,
      )
    }
    return undefined
  }
}

type Found = Pick<Withdrawal, 'signal' | 'words' | 'deviations'>

const ONE = Float64Array.of(1)
const ALWAYS = Number.POSITIVE_INFINITY
const found = (signal: Withdrawal['signal'], words: string, deviations: number): Found => ({ signal, words, deviations })
const share = (ratio: number): string => `${(100 * ratio).toFixed(1)} %`

interface Later {
  readonly name: 'TTFT' | 'E2E'
  /** How much later is a harm at all, ln. */
  readonly least: number
}

function judgeLater({ name, least }: Later, residuals: readonly number[], reference: Reference, index: number): Found | undefined {
  const { calls } = STRETCHES[index] as Stretch
  const mean = meanOf(residuals)
  if (residuals.length < calls / 2 || mean < least || mean < reference.bound(index, DEVIATIONS)) return undefined
  return found(
    name,
    `its ${name} is more than ${Math.exp(mean).toFixed(1)} times control's at the same load`,
    mean / reference.strayOf(index),
  )
}

/** How far calls lie over what control leads one to expect at that load, ln; those too young to be late yet are left out, answered or not. */
function residualsOf(
  calls: readonly KeptCall[],
  reference: Reference,
  nowMs: number,
  figureOf: (call: KeptCall, nowMs: number) => number,
): number[] {
  return calls.flatMap((call) => {
    if (Math.log(Math.max(FLOOR_MS, nowMs - call.arrivedMs)) < reference.expect(call.row)) return []
    return [reference.residual(call.row, figureOf(call, nowMs))]
  })
}

/** How late the first token is, or is already, beyond what control leads one to expect at that load. */
function latenessOf(call: KeptCall, reference: Reference, nowMs: number): Lateness {
  return { instance: call.instance, over: ttftOf(call, nowMs) - reference.expect(call.row) }
}

/** ln of the time to the first token, or of the wait so far. */
function ttftOf(call: KeptCall, nowMs: number): number {
  return Math.log(Math.max(FLOOR_MS, (Number.isNaN(call.firstTokenMs) ? nowMs : call.firstTokenMs) - call.arrivedMs))
}

function e2eOf(call: KeptCall, nowMs: number): number {
  return Math.log(Math.max(FLOOR_MS, (Number.isNaN(call.endedMs) ? nowMs : call.endedMs) - call.arrivedMs))
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, one) => sum + one, 0) / Math.max(1, values.length)
}

function ratioOf<T>(values: readonly T[], holds: (one: T) => boolean): number {
  let count = 0
  for (const one of values) if (holds(one)) count++
  return count / Math.max(1, values.length)
}
