import { CanaryGuard, type Withdrawal } from '../../../plugin/outcome/guard.ts'
import type { GuardedCall } from '../../../plugin/outcome/guard-calls.ts'
import type { Policy } from '../../../plugin/placement/policy.ts'
import { guardedArmOf, momentOf, type SwitchbackPlan } from '../../../plugin/placement/switchback.ts'
import { createRng } from '../../../plugin/rng.ts'
import type { MachineSpec } from '../../../plugin/simulation/fleet/machine.ts'
import { Simulation } from '../../../plugin/simulation/fleet/simulation.ts'
import { revealOutput } from '../../../plugin/simulation/fleet/truth.ts'
import { streamOf, type TwinCall } from '../../../plugin/simulation/fleet/twin-call.ts'

/** A canary played in the twin: two policies in turns by blocks. */
export interface CanaryRun {
  readonly fleet: readonly MachineSpec[]
  readonly calls: readonly TwinCall[]
  readonly control: () => Policy
  readonly challenger: () => Policy
  readonly plan: SwitchbackPlan
  readonly seed: number
  /** One way between router and instance, ms; 0 by default. */
  readonly networkMs?: number
  /** What a challenger's decision takes beyond control's, ms. */
  readonly challengerDelayMs?: number
  /** Of the challenger's calls each `every`th lies somewhere for so long; no decision of its takes longer for it. */
  readonly challengerTail?: { readonly every: number; readonly lateMs: number }
}

/** One call of it. */
export interface CanaryCall extends GuardedCall {
  readonly firstTokenMs: number
  readonly endedMs: number
  readonly completed: boolean
  readonly outputTokens: number
}

/** Decision time of the router as measured, ms. */
const DECISION_MS = 0.05

/** Plays the whole run without a guard; up to the moment of a withdrawal this is what a guarded one would be. */
export function playCanary(run: CanaryRun): CanaryCall[] {
  const { fleet, plan } = run
  const arms = { control: run.control(), challenger: run.challenger() }
  const fallen = new Set<number>()
  const switching: Policy = {
    name: 'switchback',
    reason: arms.control.reason,
    distribute(candidates, call, out) {
      const arm = arms[momentOf(plan, candidates.nowMs).arm]
      try {
        arm.distribute(candidates, call, out)
        if (arm === arms.challenger && out.costs.subarray(0, candidates.count).every(Number.isNaN)) throw new Error('it weighs nothing')
      } catch {
        // The router places it by the fallback policy and counts it: so does this.
        fallen.add(call.callId)
        arms.control.distribute(candidates, call, out)
      }
    },
  }
  const ended: CanaryCall[] = []
  new Simulation({
    fleet,
    calls: streamOf(run.calls),
    policy: () => switching,
    policyName: 'switchback',
    networkMs: run.networkMs ?? 0,
    rng: createRng(run.seed).stream('canary'),
    onEnd: (end) => {
      const { block, arm } = momentOf(plan, end.placedMs)
      const delayMs = arm === 'challenger' ? (run.challengerDelayMs ?? 0) : 0
      const tail = arm === 'challenger' ? run.challengerTail : undefined
      const lateMs = delayMs + (tail && end.call.call.callId % tail.every === 0 ? tail.lateMs : 0)
      ended.push({
        callId: end.call.call.callId,
        arm: guardedArmOf(plan, end.placedMs),
        block,
        nowMs: end.placedMs,
        heldMs: end.placedMs - end.arrivedMs,
        decisionMs: DECISION_MS + delayMs,
        instance: fleet[end.instance]?.name ?? '',
        fellBack: fallen.has(end.call.call.callId),
        promptTokens: end.call.promptTokens,
        predictedOutputTokens: end.call.predictedTokens,
        firstTokenMs: end.firstTokenMs + lateMs,
        endedMs: end.endedMs + lateMs,
        completed: end.ending === 'completed',
        outputTokens: revealOutput(end.call.outputTokens, 'engine'),
      })
    },
  }).run()
  return ended
}

/** What a guard that watched the run would have done. */
export interface Watched {
  readonly withdrawal: Withdrawal | undefined
  /** From the challenger's first call on. */
  readonly afterMs: number
  readonly afterCalls: number
  readonly challengerCalls: number
}

const JUDGE_EVERY_MS = 1_000

/** Tells a guard of the run as it happened and asks it every second. */
export function watch(calls: readonly CanaryCall[]): Watched {
  const guard = new CanaryGuard()
  const events = calls.flatMap((call) => [
    { atMs: call.nowMs, call, what: 0 },
    { atMs: call.firstTokenMs, call, what: 1 },
    { atMs: call.endedMs, call, what: 2 },
  ])
  events.sort((a, b) => a.atMs - b.atMs || a.what - b.what)
  let judgedMs = 0
  let firstMs = Number.NaN
  let challengers = 0
  for (const { atMs, call, what } of events) {
    while (judgedMs + JUDGE_EVERY_MS <= atMs) {
      judgedMs += JUDGE_EVERY_MS
      const withdrawal = guard.judge(judgedMs)
      if (withdrawal) return { withdrawal, afterMs: judgedMs - firstMs, afterCalls: challengers, challengerCalls: challengers }
    }
    if (what === 0) {
      guard.placed(call)
      if (call.arm === 'challenger') {
        challengers++
        if (Number.isNaN(firstMs)) firstMs = atMs
      }
    } else if (what === 1) guard.firstToken(call.callId, atMs)
    else guard.ended(call.callId, { nowMs: atMs, ok: call.completed })
  }
  return { withdrawal: undefined, afterMs: Number.NaN, afterCalls: Number.NaN, challengerCalls: challengers }
}

const argmin = (name: string, costOf: (i: number) => number): Policy => ({
  name,
  reason: 'lowest cost',
  distribute({ count }, _, { costs, probabilities }) {
    let best = 0
    for (let i = 0; i < count; i++) {
      costs[i] = costOf(i)
      if ((costs[i] as number) < (costs[best] as number)) best = i
      probabilities[i] = 0
    }
    probabilities[best] = 1
  },
})

/** Deliberately bad models. */
export function badModel(
  kind: 'constant' | 'inverted' | 'NaN' | 'slow' | 'late tail',
  control: () => Policy,
): Pick<CanaryRun, 'challenger' | 'challengerDelayMs' | 'challengerTail'> {
  switch (kind) {
    case 'constant':
      return { challenger: () => argmin('constant', (i) => i) }
    case 'NaN':
      return { challenger: () => argmin('NaN', () => Number.NaN) }
    case 'slow':
      return { challenger: control, challengerDelayMs: 50 }
    case 'late tail':
      return { challenger: control, challengerTail: { every: 10, lateMs: 20_000 } }
    case 'inverted':
      return { challenger: () => inverted(control()) }
  }
}

function inverted(policy: Policy): Policy {
  return {
    ...policy,
    distribute(candidates, call, out) {
      policy.distribute(candidates, call, out)
      const { count } = candidates
      let worst = 0
      for (let i = 0; i < count; i++) {
        out.costs[i] = -(out.costs[i] as number)
        if ((out.costs[i] as number) < (out.costs[worst] as number)) worst = i
      }
      out.probabilities.fill(0, 0, count)
      out.probabilities[worst] = 1
    },
  }
}
