import type { Score } from '../../../plugin/simulation/scenario/score.ts'
import type { Scores } from './crew.ts'
import { type Estimate, meanOf, pairedGain, pairedRatio } from './statistics.ts'
import { keyOf, type Unit } from './work.ts'

/** A figure of a score that is one number. */
export type Measure = Exclude<keyof Score, 'shares'>

/** One arm in one scenario under one set of circumstances, over all its seeds. */
export interface Cell {
  readonly scenario: string
  readonly arm: string
  /** Load, age of signals and routers in words. */
  readonly circumstances: string
  readonly unit: Unit
  readonly mean: (measure: Measure) => number
  readonly gainVsRoundRobin: Estimate
  /** The peer of least mean E2E here, and the gain over it. */
  readonly best: string
  readonly gainVsBest: Estimate
  readonly makespanGain: Estimate
  /** Ratio of a measure to another arm's, seed by seed. */
  readonly ratioTo: (arm: string, measure: Measure) => Estimate
  /** Largest share of the calls that one instance got. */
  readonly busiestShare: number
}

/** Arms that are no peers: ours, the paper's, those told the truth. */
export function isPeer(arm: string): boolean {
  return !/^(impact|paper-|oracle-|learned)/.test(arm) && !arm.includes('+')
}

/** Groups the units by all but their seed and compares the arms in each group, seed by seed. */
export function compare(units: readonly Unit[], scores: Scores): Cell[] {
  const groups = Map.groupBy(units, (unit) => JSON.stringify({ ...unit, seed: 0, arms: [] }))
  return [...groups.values()].flatMap((group) => compareGroup(group, scores))
}

function compareGroup(group: readonly Unit[], scores: Scores): Cell[] {
  const unit = group[0] as Unit
  const scoresOf = (arm: string): Score[] => group.map((one) => scores.get(keyOf(one))?.get(arm) as Score)
  const values = (arm: string, measure: Measure): number[] => scoresOf(arm).map((score) => score[measure])
  const best = unit.arms.filter(isPeer).toSorted((a, b) => meanOf(values(a, 'meanE2eMs')) - meanOf(values(b, 'meanE2eMs')))[0] as string
  return unit.arms.map((arm) => ({
    scenario: unit.scenario,
    arm,
    circumstances: `load ${unit.rateFactor}, signals ${JSON.stringify(unit.scrapeMs)} ms, ${unit.routers} router${unit.routers > 1 ? 's' : ''}`,
    unit,
    mean: (measure) => meanOf(values(arm, measure)),
    gainVsRoundRobin: pairedGain(values(arm, 'meanE2eMs'), values('round-robin', 'meanE2eMs')),
    best,
    gainVsBest: pairedGain(values(arm, 'meanE2eMs'), values(best, 'meanE2eMs')),
    ratioTo: (other, measure) => pairedRatio(values(arm, measure), values(other, measure)),
    makespanGain: pairedGain(values(arm, 'makespanMs'), values('round-robin', 'makespanMs')),
    busiestShare: Math.max(...scoresOf(arm).map((score) => Math.max(...score.shares))),
  }))
}

/** The paper's simple rules as they are called here, with the gain in makespan that it reports (4 × V100, 20 calls/s). */
const PAPER_RULES = [
  { paper: 'join shortest queue (outstanding tokens)', arm: 'least-tokens-predicted', gain: 0.0046 },
  { paper: 'max capacity', arm: 'least-kv', gain: 0.026 },
  { paper: 'min-min', arm: 'predicted-latency', gain: 0.015 },
] as const

/** Our makespan gains of the paper's simple rules beside its own, with mean E2E and tails, for each `paper-…` scenario. */
export function paperTable(cells: readonly Cell[]): string[] {
  const percent = (value: number): string => `${(100 * value).toFixed(2)} %`
  const interval = ({ mean, low, high }: Estimate): string => `${percent(mean)} [${percent(low)}, ${percent(high)}]`
  return PAPER_RULES.flatMap(({ paper, arm, gain }) =>
    cells
      .filter((cell) => cell.scenario.startsWith('paper-') && cell.arm === arm)
      .map((cell) => {
        const theirs = cell.scenario === 'paper-v100x4@20' ? `, the paper ${percent(gain)}` : ''
        const tails = `E2E p99 ${(cell.mean('p99E2eMs') / 1000).toFixed(1)} s, TTFT p99 ${(cell.mean('p99TtftMs') / 1000).toFixed(1)} s`
        return `${cell.scenario}: ${paper} (${arm}): makespan ${interval(cell.makespanGain)}${theirs}; mean E2E ${interval(cell.gainVsRoundRobin)}; ${tails}`
      }),
  )
}
