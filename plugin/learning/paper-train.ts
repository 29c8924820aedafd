import { createTraining } from '../neural/training.ts'
import { createRng } from '../rng.ts'
import type { Scenario } from '../simulation/scenario/scenarios.ts'
import type { Score } from '../simulation/scenario/score.ts'
import type { PaperSettings } from './paper-constants.ts'
import { type Actor, openEpisode, playEpisode } from './paper-episode.ts'
import { bestAction, doubleDqnLoss, netShape, PlainQ } from './paper-net.ts'
import { Replay } from './paper-replay.ts'
import { annealing, type PaperArm } from './paper-reward.ts'

/** What one episode of training came to. */
export interface EpisodeReport {
  readonly episode: number
  readonly exploreRatio: number
  readonly discount: number
  readonly loss: number
  readonly score: Score
  /** Whose net would be kept by now. */
  readonly bestEpisode: number
}

/** A trained net: flat parameters for `netShape(instances)`. */
export interface PaperNet {
  readonly arm: PaperArm
  readonly instances: number
  readonly parameters: Float32Array
}

/** Calls of episodes come from seeds far from those that judge. */
const TRAINING_SEED = 1_000_000
const VALIDATION_SEED = 900_000

/** Trains one arm on one scenario. Same plan, same net, to the bit, on one machine. */
export async function trainPaper(plan: {
  readonly arm: PaperArm
  readonly scenario: Scenario
  readonly seed: number
  readonly settings: PaperSettings
  readonly onEpisode?: (report: EpisodeReport) => void
}): Promise<PaperNet> {
  const { arm, scenario, seed, settings } = plan
  const instances = scenario.fleet.length
  const shape = netShape(instances, settings)
  const rng = createRng(seed).stream(`paper ${arm}`)
  const [explore, draw] = [rng.stream('explore'), rng.stream('replay')]
  const training = await createTraining({ loss: (g) => doubleDqnLoss(g, shape, settings.batch), rng })
  const replay = new Replay({ capacity: settings.replay, width: shape.widths[0] as number })
  const target = training.feeds.target as Float32Array
  target.set(training.parameters())
  const greedy = actorOf(target, instances, settings)
  let best = { e2eMs: Number.POSITIVE_INFINITY, episode: -1, parameters: Float32Array.from(target) }

  for (let episode = 0; episode < settings.episodes; episode++) {
    const { discount, weight } = annealing(arm, episode, settings)
    const exploreRatio = episode < settings.exploreEpisodes ? settings.exploreRatio : 0
    const act: Actor = (state, mixing) => (explore.next() < exploreRatio ? explore.int(instances + 1) : greedy(state, mixing))
    const calls = scenario.calls({ seed: TRAINING_SEED * (1 + seed) + episode })
    const play = openEpisode({ scenario, calls, settings, act, onTransition: (transition) => replay.add(transition) })
    let loss = 0
    let steps = 0

    for (let nowMs = settings.trainEveryMs; play.advance(nowMs); nowMs += settings.trainEveryMs) {
      if (replay.length < settings.batch) continue
      replay.sample(training, {
        discount,
        weight: settings.heuristicWeight * settings.rewardScale * weight,
        returnSteps: settings.returnSteps,
        shuffles: true,
        rng: draw,
      })
      loss += await training.step(settings.learningRate * settings.rateKept ** episode)
      follow(target, training.parameters(), settings.targetShare)
      steps++
    }
    const score = play.end()

    if (episode >= settings.checkpointFrom && (settings.episodes - 1 - episode) % settings.checkpointEvery === 0) {
      const e2eMs = meanE2eMs(greedy, { scenario, settings, seed })
      if (e2eMs < best.e2eMs) best = { e2eMs, episode, parameters: Float32Array.from(target) }
    }
    plan.onEpisode?.({ episode, exploreRatio, discount, loss: loss / Math.max(1, steps), score, bestEpisode: best.episode })
  }
  await training.close()
  return { arm, instances, parameters: best.parameters }
}

/** Acts by the highest Q value. */
export function actorOf(parameters: Float32Array, instances: number, settings: PaperSettings): Actor {
  const net = new PlainQ(parameters, netShape(instances, settings))
  return (state) => bestAction(net.values(state))
}

/** θ⁻ ← θ⁻ + share · (θ − θ⁻). */
function follow(target: Float32Array, parameters: Float32Array, share: number): void {
  for (let i = 0; i < target.length; i++) target[i] = (target[i] as number) + share * ((parameters[i] as number) - (target[i] as number))
}

/** Mean E2E over the validation workloads, ms: they choose the checkpoint, and neither train nor judge. */
function meanE2eMs(
  act: Actor,
  { scenario, settings, seed }: { readonly scenario: Scenario; readonly settings: PaperSettings; readonly seed: number },
): number {
  let sum = 0
  for (let i = 0; i < settings.validations; i++) {
    const calls = scenario.calls({ seed: VALIDATION_SEED + seed * 100 + i })
    sum += playEpisode({ scenario, calls, settings, act }).meanE2eMs
  }
  return sum / settings.validations
}
