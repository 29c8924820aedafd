import type { PaperSettings } from '../../../plugin/learning/paper-constants.ts'
import { type Actor, playEpisode } from '../../../plugin/learning/paper-episode.ts'
import { greedyAction } from '../../../plugin/learning/paper-reward.ts'
import { actorOf, type PaperNet } from '../../../plugin/learning/paper-train.ts'
import type { TwinCall } from '../../../plugin/simulation/fleet/twin-call.ts'
import { parseArm, playArm } from '../../../plugin/simulation/scenario/arm.ts'
import type { Scenario } from '../../../plugin/simulation/scenario/scenarios.ts'
import type { Score } from '../../../plugin/simulation/scenario/score.ts'
import { type Estimate, estimate, meanOf } from '../placement/statistics.ts'

/** Rules to compare with, as bench `placement` writes them; 'heuristic' is r_mixing with capacity and deferring, without any learning. */
export const RULES = [
  'least-request',
  'least-kv',
  'paper-greedy',
  'heuristic',
  'least-kv + fcfs',
  'least-kv + kv-time',
  'paper-greedy + kv-time',
] as const

/** Workloads that judge, per training seed. */
export interface Judging {
  readonly scenario: Scenario
  readonly settings: PaperSettings
  readonly seed: number
  readonly workloads: number
}

/** Scores of one arm on the workloads of one seed; round robin's beside them. */
export interface Judged {
  readonly scores: readonly Score[]
  readonly base: readonly Score[]
}

/** First seed of the workloads that judge: far from every workload on which a constant was ever chosen. */
const JUDGING_SEED = 10_000

/** The same workloads for every arm of a seed: none of them trained, chose a checkpoint, or was looked at while constants were chosen. */
export function workloadsOf({ scenario, seed, workloads }: Judging): { readonly seed: number; readonly calls: readonly TwinCall[] }[] {
  return Array.from({ length: workloads }, (_, i) => {
    const own = JUDGING_SEED + 100 * seed + i
    return { seed: own, calls: scenario.calls({ seed: own }) }
  })
}

/** Judges a rule by its name. */
export function judgeRule(rule: string, judging: Judging): Score[] {
  const { settings, scenario } = judging
  if (rule === 'heuristic') return judgeActor((_, mixing) => greedyAction(mixing, settings), judging)
  return workloadsOf(judging).map(({ seed, calls }) => playArm(parseArm(rule), { scenario, calls, seed }))
}

/** Judges a trained net. */
export function judgeNet(net: PaperNet, judging: Judging): Score[] {
  return judgeActor(actorOf(net.parameters, net.instances, judging.settings), judging)
}

function judgeActor(act: Actor, judging: Judging): Score[] {
  const { scenario, settings } = judging
  return workloadsOf(judging).map(({ calls }) => playEpisode({ scenario, calls, settings, act }))
}

/** Gain of a figure over round robin: the mean over each seed's workloads, then mean and 95 % interval over the seeds. */
export function gainOf(seeds: readonly Judged[], figure: (score: Score) => number): Estimate {
  return estimate(seeds.map(({ scores, base }) => meanOf(scores.map((score, i) => 1 - figure(score) / figure(base[i] as Score)))))
}

/** Mean of a figure over everything. */
export function figureOf(seeds: readonly Judged[], figure: (score: Score) => number): number {
  return meanOf(seeds.flatMap(({ scores }) => scores.map(figure)))
}
