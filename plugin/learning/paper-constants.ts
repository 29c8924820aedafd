/** Where a constant of the reproduction comes from: stated by the paper, rebuilt from its text, or not stated and chosen here. */
export interface PaperConstant {
  readonly value: number
  readonly source: 'paper' | 'reconstructed' | 'chosen'
  readonly why: string
}

const paper = (value: number, why: string): PaperConstant => ({ value, source: 'paper', why })
const rebuilt = (value: number, why: string): PaperConstant => ({ value, source: 'reconstructed', why })
const chosen = (value: number, why: string): PaperConstant => ({ value, source: 'chosen', why })

/**
 * Every constant of the reproduction of Jain et al., "Intelligent Router for LLM Workloads" (arXiv 2408.13510), one line each: what the paper
 * states, what is rebuilt from its text, and what it leaves open and was chosen here. "Tried" means on `paper-v100x4@20`, training seed 1, workloads that
 * do not judge.
 */
export const PAPER_CONSTANTS = {
  tickMs: paper(20, 'a decision every 0.02 s'),
  queueCap: paper(512, 'router queue length in the state'),
  bucketLowTokens: paper(256, 'the state knows predicted output as 0-256, 256-2048, 2048 and more'),
  bucketHighTokens: paper(2048, 'see above'),
  heavyPromptS: paper(0.5, 'a prompt is heavy from this prefill time on; also ε of r_p'),
  hiddenWidth: paper(64, 'two hidden layers, ReLU'),
  batch: paper(512, 'replayed decisions per step'),
  completionReward: paper(60, 'per completed call'),
  annealRate: paper(0.5, 'γ̃_k = (1 − e^(−0.5 k)) γ in episode k'),
  exploreEpisodes: paper(20, 'no random action from this episode on'),
  bucketTokens0: rebuilt(128, 'd̂ of the first bucket: the power of two nearest to its mean over the five tasks'),
  bucketTokens1: rebuilt(512, 'd̂ of the second, the same way'),
  bucketTokens2: rebuilt(2048, 'd̂ of the third: its lower end; the mixes have next to nothing there'),
  contextFactor: rebuilt(
    10,
    "grad2 ÷ the profile's slope per context token: the paper's 3.3e-5 is 66 times its plot's; 66 hid who has room behind crowding",
  ),
  reserveRatio: rebuilt(
    0.15,
    'an instance with less of its KV memory free counts r_mixing = −1; tried 0.05, 0.1, 0.12, 0.15, 0.2 with the heuristic alone',
  ),
  capacityUnit: rebuilt(
    0.03,
    'C in the state = clip((KV share free − reserve) ÷ this, −1, 1): has it room, and how sure; at 0.1 the net deferred too long',
  ),
  callsUnit: chosen(16, 'calls n stand in the state as x ÷ (1 + x), x = n ÷ this, so that hundreds in overload do not drown the rest'),
  promptUnitS: chosen(0.05, 'the same for the prefill time of the head call'),
  earliestUnitS: chosen(5, 'the same for the time until the first call ends'),
  deferMixing: rebuilt(-0.25, 'r_mixing of deferring: midway between an instance with room (about 0.4) and one without (−1)'),
  exploreRatio: chosen(
    0.1,
    'share of random actions before; falling from 1 to 0 fills the replay with overloads that no sensible router meets',
  ),
  gamma: chosen(
    0.998,
    'per tick, so 10 s: at 0.99 (2 s) a call that stalls others costs more than it can earn, and all are sent to the worst instance',
  ),
  queueWeightPerS: chosen(1, 'reward of one waiting call per second, −1: completions weigh most; 0.1 and 5 tried, worse'),
  heuristicWeight: chosen(
    1000,
    'what h = −1 costs: the true price of a wrong place, about 30, is a five-hundredth of a value; 1, 100, 300 drowned in noise, at 5000 the net followed too slowly',
  ),
  rewardScale: chosen(0.002, "Q values of the order of ten, TD errors within the quadratic part of Huber's loss"),
  sharedFactor: chosen(4, 'how much of an output all actions share, see paper-net.ts; without, values of single actions drift apart'),
  learningRate: chosen(2e-3, 'AdamW without decay of weights; of the first episode'),
  rateKept: chosen(
    0.85,
    'the rate is multiplied by this from episode to episode: at a rate that stays, what h taught is lost once it fades',
  ),
  replay: chosen(40_000, 'decisions: about the last eight episodes'),
  returnSteps: chosen(3, 'decisions summed before the target net: 1, 10, 20, 50, 100 tried; noise grows with n, at 1 value travels slowly'),
  targetShare: chosen(0.05, 'the target net follows by this share per step; it also acts'),
  trainEveryMs: chosen(
    500,
    'simulated time between training steps; all of them after an episode made policies swing from one to the other; 200 made eight instances worse (seed 1: −10 %), 100 with a rate that falls by 0.6 left them at −5 % (seed 101)',
  ),
  episodes: chosen(
    8,
    'of 2,000 calls; with 14 and 22 guided fell from 18 to 13 and 7 %: what h taught is lost as it fades, and values alone place worse; by the eighth γ̃ is 0.968 per tick, 0.6 s ahead',
  ),
  checkpointFrom: chosen(2, 'from this episode on the net is judged and the best is kept'),
  checkpointEvery: chosen(2, 'episodes between'),
  validations: chosen(2, 'workloads that choose the checkpoint by mean E2E; they neither train nor judge'),
} satisfies Record<string, PaperConstant>

export type PaperSettings = { readonly [name in keyof typeof PAPER_CONSTANTS]: number }

/** The table's values, some of them changed. */
export function paperSettings(change: Partial<PaperSettings> = {}): PaperSettings {
  const entries = Object.entries(PAPER_CONSTANTS).map(([name, { value }]) => [name, value] as const)
  return { ...(Object.fromEntries(entries) as PaperSettings), ...change }
}
