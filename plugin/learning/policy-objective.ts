import type { NightConfig } from '../config-night.ts'
import { LEARNED_FEATURE_HASH } from '../placement/learned-model.ts'
import { type Arm, playArm } from '../simulation/scenario/arm.ts'
import { LIMITS, type Score } from '../simulation/scenario/score.ts'
import { LATE_SPARE } from './figure.ts'
import type { Task } from './policy-domain.ts'

/** What a candidate is judged by, task by task: ln of the mean E2E over the reference's, and what tails and losses cost on top. */
export interface Objective {
  readonly kind: 'latency' | 'slo'
  /** Where it is the share of calls in time: until the first token, and until the last for each token of the answer on top, ms. */
  readonly ttftLimitMs: number
  readonly perTokenLimitMs: number
  /** Price of each e-fold of E2E p99 above the allowed ratio of the reference's. */
  readonly e2eP99Weight: number
  readonly ttftP99Weight: number
  /** Allowed ratios: within capacity against least-request, in overload against round robin. */
  readonly e2eP99Ratio: number
  readonly ttftP99Ratio: number
  readonly overE2eP99Ratio: number
  readonly overTtftP99Ratio: number
  /** Price of a call lost, against all calls. */
  readonly lostWeight: number
  /** What a task with a goal pays for each e-fold of mean E2E beyond it, where each one short of it costs 1. */
  readonly beyondGoalWeight: number
}

/** Allowed ratios stand a little inside the bars, so that unseen seeds stay inside too; a price of 1 buys no mean with the same share of tail. */
export const OBJECTIVE: Objective = {
  kind: 'latency',
  ttftLimitMs: LIMITS.ttftMs,
  perTokenLimitMs: LIMITS.perTokenMs,
  e2eP99Weight: 1,
  ttftP99Weight: 0.6,
  e2eP99Ratio: 1.1,
  ttftP99Ratio: 1.12,
  overE2eP99Ratio: 1.09,
  overTtftP99Ratio: 1.25,
  lostWeight: 10,
  beyondGoalWeight: 0.15,
}

/** The objective as the settings of a night have it; allowed tails as ever. */
export function objectiveOf(wanted: NightConfig['objective']): Objective {
  const { kind, ttftMs, perTokenMs, tailWeight } = wanted
  return {
    ...OBJECTIVE,
    kind,
    ttftLimitMs: ttftMs,
    perTokenLimitMs: perTokenMs,
    e2eP99Weight: tailWeight * OBJECTIVE.e2eP99Weight,
    ttftP99Weight: tailWeight * OBJECTIVE.ttftP99Weight,
  }
}

/** The rules every task is played under once, for the tails' references. */
export interface References {
  readonly leastRequest: Score
  readonly roundRobin: Score
}

const LEARNED_ARM: Arm = { policy: 'learned' }

/** Plays the task under the model with these parameters. */
export function playModel(task: Task, objective: Objective, parameters: Float32Array): Score {
  return play(task, objective, LEARNED_ARM, parameters)
}

/** Plays the task under the two rules that tails are held against. */
export function playReferences(task: Task, objective: Objective): References {
  return { leastRequest: play(task, objective, { policy: 'least-request' }), roundRobin: play(task, objective, { policy: 'round-robin' }) }
}

function play(task: Task, { ttftLimitMs, perTokenLimitMs }: Objective, arm: Arm, parameters?: Float32Array): Score {
  const { plan, fleet, calls, script, believes } = task
  return playArm(arm, {
    scenario: {
      name: plan.family,
      label: plan.family,
      fleet,
      callsPerS: Number.NaN,
      calls: () => calls,
      ...(script ? { script, clientRetries: { times: 3, afterMs: 1_000 } } : {}),
    },
    calls,
    seed: plan.seed,
    routers: plan.routers,
    scrapeMs: plan.scrapeMs,
    limits: { ttftMs: ttftLimitMs, perTokenMs: perTokenLimitMs },
    ...(believes ? { believes } : {}),
    ...(parameters ? { model: { version: 'candidate', featureHash: LEARNED_FEATURE_HASH, parameters } } : {}),
  })
}

/** What a run is judged by: its task's terms and what they cost. */
export interface Judgement {
  readonly over: boolean
  readonly objective: Objective
  /** Share of round robin's mean E2E that is to be saved; beyond it little more is won. */
  readonly goal?: number | undefined
}

/** The loss of one run, lower is better: 0 is a mean E2E as least-request's, or at the goal where there is one, within the allowed tails. */
export function lossOf(score: Score, references: References, given: Judgement): number {
  const { objective, over, goal } = given
  const base = references.leastRequest
  const tails = over ? references.roundRobin : base
  const e2eRatio = over ? objective.overE2eP99Ratio : objective.e2eP99Ratio
  const ttftRatio = over ? objective.overTtftP99Ratio : objective.ttftP99Ratio
  const main =
    objective.kind === 'slo'
      ? Math.log((1 + LATE_SPARE - score.withinLimits) / (1 + LATE_SPARE - base.withinLimits))
      : goal === undefined
        ? Math.log(score.meanE2eMs / base.meanE2eMs)
        : towards(Math.log(score.meanE2eMs / references.roundRobin.meanE2eMs / (1 - goal)), objective.beyondGoalWeight)
  return (
    main +
    objective.e2eP99Weight * beyond(score.p99E2eMs, e2eRatio * tails.p99E2eMs) +
    objective.ttftP99Weight * beyond(score.p99TtftMs, ttftRatio * tails.p99TtftMs) +
    (objective.lostWeight * Math.max(0, score.lost - base.lost)) / score.calls
  )
}

/** Full price short of the goal, the weight beyond it. */
function towards(short: number, beyondWeight: number): number {
  return short > 0 ? short : beyondWeight * short
}

/** E-folds above the limit; at a few milliseconds a ratio means nothing, so 50 ms are added to both. */
function beyond(valueMs: number, limitMs: number): number {
  return Math.max(0, Math.log((valueMs + 50) / (limitMs + 50)))
}
