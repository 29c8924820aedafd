import type { Log, TrialEnding, TrialMark } from './log/rows.ts'
import { CanaryGuard } from './outcome/guard.ts'
import type { GuardedCall } from './outcome/guard-calls.ts'
import type { Outcome } from './outcome/outcome.ts'
import { assertPlan, guardedArm, momentOf, type SwitchbackArm, type SwitchbackPlan } from './placement/switchback.ts'
import type { ArmModels } from './router-arms.ts'

/** Challengers on real calls: a shadow is asked and not obeyed; a canary serves the blocks of time that its plan gives it. */
export interface RouterTrial {
  readonly trialId: number
  readonly models: ArmModels
  /** Absent: a shadow. */
  readonly canary?: SwitchbackPlan & {
    /** It ends after so many blocks from the first in which the guard could judge; 0: when somebody ends it. */
    readonly blocksPlanned: number
    /** Virtual fleets run so many times faster than real, and their guards' times with them; 1 otherwise. */
    readonly timeFactor?: number
    /** Guards that know control calls of before already, by pool; the others learn from the first blocks. */
    readonly guards?: ReadonlyMap<string, CanaryGuard>
  }
}

export interface TrialParts {
  readonly trial: RouterTrial
  readonly pools: readonly string[]
  readonly log: Pick<Log, 'append'>
  /** The trial is over: by plan, or because the guard withdraws it. Asked once. */
  readonly ended: (ending: TrialEnding) => void
  /** A block begins: whatever follows the arm besides policies. */
  readonly follow: (arm: SwitchbackArm) => void
}

interface Block {
  readonly block: number
  readonly arm: SwitchbackArm
  /** Whose the block before was. */
  readonly before: SwitchbackArm
  readonly untilUnixMs: number
  readonly washoutUntilUnixMs: number
}

/** The same objects for all calls of a block. */
interface Marks {
  readonly inside: TrialMark
  readonly washout: TrialMark
}

/** What a call is marked with, and who decides for it. */
export interface TrialMoment {
  readonly mark: TrialMark
  readonly arm: SwitchbackArm
}

/**
 * A trial while it runs. In a canary the arm belongs to the block, whatever the call; until every pool's guard has seen enough of control, all blocks are control's, so that
 * a challenger is never served unwatched. No clock of its own.
 */
export class LiveTrial {
  readonly trial: RouterTrial
  readonly #parts: TrialParts
  readonly #guards: ReadonlyMap<string, CanaryGuard>
  readonly #shadowMark: TrialMark
  readonly #timeFactor: number
  /** Pools that had calls in this block. */
  readonly #busy = new Set<string>()
  #block: Block | undefined
  #marks: Marks | undefined
  #firstBlock: number | undefined
  #isOver = false

  /** Throws on a plan that cannot be followed. */
  constructor(parts: TrialParts) {
    this.trial = parts.trial
    this.#parts = parts
    this.#shadowMark = { trialId: parts.trial.trialId }
    if (parts.trial.canary) assertPlan(parts.trial.canary)
    const { canary } = parts.trial
    this.#guards = new Map(canary ? parts.pools.map((pool) => [pool, canary.guards?.get(pool) ?? new CanaryGuard()]) : [])
    this.#timeFactor = canary?.timeFactor ?? 1
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** Where a decision at this time falls. */
  at(nowUnixMs: number): TrialMoment {
    const { canary } = this.trial
    if (!canary) return { mark: this.#shadowMark, arm: 'control' }
    let block = this.#block
    if (!block || nowUnixMs >= block.untilUnixMs) block = this.#begin(canary, nowUnixMs)
    const marks = this.#marks as Marks
    return { mark: nowUnixMs < block.washoutUntilUnixMs ? marks.washout : marks.inside, arm: block.arm }
  }

  placed(pool: string, call: Omit<GuardedCall, 'arm' | 'block'>, mark: TrialMark): void {
    const { arm, block, washout: isWashout = false } = mark
    if (arm === undefined || block === undefined) return
    // A held call may be placed in the block after the one that it was marked for.
    const before = this.#block?.block === block ? this.#block.before : 'challenger'
    this.#busy.add(pool)
    const [nowMs, heldMs] = [call.nowMs * this.#timeFactor, call.heldMs * this.#timeFactor]
    this.#guards.get(pool)?.placed({ ...call, nowMs, heldMs, block, arm: guardedArm({ arm, isWashout, before }) })
  }

  firstToken(pool: string, callId: number, nowMs: number): void {
    this.#guards.get(pool)?.firstToken(callId, nowMs * this.#timeFactor)
  }

  settled(pool: string, callId: number, outcome: Outcome, nowMs: number): void {
    this.#guards
      .get(pool)
      ?.ended(callId, { nowMs: nowMs * this.#timeFactor, ok: outcome.kind !== 'instance error' && outcome.kind !== 'timed out' })
  }

  /** Ends the trial where its blocks are done or the guard has proof of harm; to be called every second or so. */
  tick(nowMs: number, nowUnixMs: number): void {
    const { canary, trialId } = this.trial
    if (!canary || this.#isOver) return
    this.at(nowUnixMs)
    for (const [pool, guard] of this.#guards) {
      const harm = guard.judge(nowMs * this.#timeFactor)
      if (!harm) continue
      this.#end({
        trialId,
        state: 'withdrawn',
        why: `pool ${pool}: ${harm.words} (seen in ${harm.windowCalls} of its ${harm.challengerCalls} calls)`,
      })
      return
    }
    const done = this.#firstBlock === undefined ? 0 : (this.#block?.block ?? 0) - this.#firstBlock
    if (canary.blocksPlanned > 0 && done >= canary.blocksPlanned)
      this.#end({ trialId, state: 'ended', why: `all ${canary.blocksPlanned} blocks are done` })
  }

  #begin(canary: SwitchbackPlan, nowUnixMs: number): Block {
    const { trialId } = this.trial
    const { block, arm: planned } = momentOf(canary, nowUnixMs)
    // A pool without any call since the last block needs no guard, and must not keep the others waiting.
    const guards = [...this.#guards]
    const isReady = guards.some(([, guard]) => guard.isReady) && guards.every(([pool, guard]) => guard.isReady || !this.#busy.has(pool))
    this.#busy.clear()
    if (isReady) this.#firstBlock ??= block
    const arm = isReady && !this.#isOver ? planned : 'control'
    const before = this.#block?.arm ?? 'control'
    const fromUnixMs = canary.startUnixMs + block * canary.blockMs
    const toUnixMs = fromUnixMs + canary.blockMs
    // After control the fleet holds nothing of the challenger's, but the mean of both arms is taken over the same part of a block.
    const washoutUntilUnixMs = fromUnixMs + canary.washoutMs
    this.#block = { block, arm, before, untilUnixMs: toUnixMs, washoutUntilUnixMs }
    const inside = { trialId, block, arm, washout: false }
    this.#marks = { inside, washout: { ...inside, washout: true } }
    this.#parts.log.append({ kind: 'block', trialId, block, arm, fromUnixMs, toUnixMs, washoutUntilUnixMs })
    this.#parts.follow(arm)
    return this.#block
  }

  #end(ending: TrialEnding): void {
    this.#isOver = true
    this.#parts.ended(ending)
  }
}
