import { lossOf, OBJECTIVE, type Objective } from '../../../plugin/learning/policy-objective.ts'
import { REFINING_PLAN, Search } from '../../../plugin/learning/policy-search.ts'
import type { LearnedModel } from '../../../plugin/placement/learned-model.ts'
import { createRng } from '../../../plugin/rng.ts'
import type { TwinCall } from '../../../plugin/simulation/fleet/twin-call.ts'
import { playArm } from '../../../plugin/simulation/scenario/arm.ts'
import type { Scenario } from '../../../plugin/simulation/scenario/scenarios.ts'
import type { Score } from '../../../plugin/simulation/scenario/score.ts'
import { progress, type Row } from '../harness.ts'
import { OVERLOAD } from './bars.ts'

/** The mean alone, whatever it does to tails. */
const FREE: Objective = { ...OBJECTIVE, e2eP99Weight: 0, ttftP99Weight: 0 }
/** Tails at the bars, at a price that no mean pays. */
const WITHIN: Objective = {
  ...OBJECTIVE,
  e2eP99Weight: 10,
  ttftP99Weight: 10,
  e2eP99Ratio: 1.15,
  ttftP99Ratio: 1.2,
  overE2eP99Ratio: 1.15,
  overTtftP99Ratio: 1.15,
}

export interface CeilingPlan {
  readonly scenarios: readonly Scenario[]
  readonly seed: number
  readonly generations: number
  readonly model: LearnedModel
}

/**
 * How far a policy of this form can come on each scenario when it is told every length and searched on the very calls it is judged on, once for the mean
 * alone and once with the tails held at the bars. What no such policy reaches, none that must serve all scenarios and unseen calls does; a search that goes
 * on longer, or a policy that sees more, may reach somewhat more.
 */
export function ceilings({ scenarios, seed, generations, model }: CeilingPlan): Row[] {
  return scenarios.map((scenario, i) => {
    const predicted = scenario.calls({ seed })
    const told = scenario.calls({ seed, sigma: 0 })
    const roundRobin = playArm({ policy: 'round-robin' }, { scenario, calls: told, seed })
    const leastRequest = playArm({ policy: 'least-request' }, { scenario, calls: told, seed })
    const references = { roundRobin, leastRequest }
    const gain = ({ meanE2eMs }: Score): string => `${(100 * (1 - meanE2eMs / roundRobin.meanE2eMs)).toFixed(1)} %`
    const tails = (score: Score): string =>
      `${(score.p99TtftMs / leastRequest.p99TtftMs).toFixed(2)} / ${(score.p99E2eMs / roundRobin.p99E2eMs).toFixed(2)}`
    const play = (calls: readonly TwinCall[], parameters: Float32Array): Score =>
      playArm({ policy: 'learned' }, { scenario, calls, seed, model: { ...model, parameters } })
    const over = OVERLOAD.includes(scenario.name)
    const search = (objective: Objective): Score =>
      best({
        play: (parameters) => play(told, parameters),
        lossOf: (score) => lossOf(score, references, { over, objective }),
        generations,
        model,
      })
    const [shipped, knowing, free, within] = [play(predicted, model.parameters), play(told, model.parameters), search(FREE), search(WITHIN)]
    progress(i + 1, scenarios.length, scenario.name)
    return {
      scenario: scenario.name,
      shipped: gain(shipped),
      'shipped, told lengths': gain(knowing),
      'searched here, mean alone': gain(free),
      'TTFT p99 / least-request, E2E p99 / round robin': tails(free),
      'searched here, tails within bars': gain(within),
      'its tails': tails(within),
    }
  })
}

/** The best of all that a search from the model tried; the calls never change, so that no chance is in it. */
function best(given: {
  readonly play: (parameters: Float32Array) => Score
  readonly lossOf: (score: Score) => number
  readonly generations: number
  readonly model: LearnedModel
}): Score {
  const { play, generations, model } = given
  const plan = { ...REFINING_PLAN, generations, linearGenerations: generations }
  const search = new Search({ start: model.parameters, plan, rng: createRng(1).stream('ceiling') })
  let least = play(model.parameters)
  for (let generation = 0; generation < generations; generation++) {
    const scores = search.ask().map(play)
    for (const score of scores) if (given.lossOf(score) < given.lossOf(least)) least = score
    search.tell(
      scores.map((score) => [given.lossOf(score)]),
      [{ weight: 1 }],
    )
  }
  return least
}
