import type { PaperArm } from '../../../plugin/learning/paper-reward.ts'

/** What Jain et al. report (arXiv 2408.13510): gain over round robin in makespan, %, and mean hold, s, where given. */
export interface Published {
  readonly gain: number
  readonly holdS?: number
}

export const PUBLISHED: Readonly<Record<string, Readonly<Record<PaperArm, Published>>>> = {
  'paper-v100x4@20': { baseline: { gain: 4.35, holdS: 0.59 }, aware: { gain: 7.79, holdS: 4.41 }, guided: { gain: 11.43, holdS: 2.05 } },
  'paper-v100x8@40': { baseline: { gain: 5.84 }, aware: { gain: 6.64 }, guided: { gain: 11.62 } },
  'paper-a100x4-whole@80': { baseline: { gain: 3.15 }, aware: { gain: 6.74 }, guided: { gain: 10.71 } },
  'paper-a100x4-chunked@80': { baseline: { gain: 3.11 }, aware: { gain: 6.96 }, guided: { gain: 11.06 } },
  'paper-production': { baseline: { gain: 2.28 }, aware: { gain: 4.39 }, guided: { gain: 7.84 } },
}
