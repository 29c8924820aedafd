import { atLeast, atMost, type Bar } from '../harness.ts'
import { type Cell, isPeer } from './report.ts'
import type { Estimate } from './statistics.ts'

/** What the learned policy is to gain in mean E2E over round robin. */
const GAINS: Readonly<Record<string, number>> = {
  'paper-v100x4@11': 0.05,
  'paper-v100x4@14': 0.21,
  'paper-v100x4@20': 0.53,
  'paper-v100x8@40': 0.32,
  'azure-chat-over': 0.26,
  'azure-code-over': 0.5,
  'v100x4@12': 0.08,
  'v100x4@20': 0.16,
  'v100x4@26': 0.2,
  'v100x4@40': 0.22,
  'v100x8@40': 0.17,
  'a100x4@110': 0.1,
  'mixed@60': 0.67,
  'azure-chat': 0.08,
  'azure-code': 0.18,
}
/** Scenarios whose calls come faster than the fleet can serve them. */
export const OVERLOAD: readonly string[] = [
  'paper-v100x4@14',
  'paper-v100x4@20',
  'paper-v100x8@40',
  'v100x4@40',
  'azure-chat-over',
  'azure-code-over',
]
const TAILS = [
  { name: 'tail:paper-v100x4@20:ttftP99Ratio', scenario: 'paper-v100x4@20', measure: 'p99TtftMs', most: 1 },
  { name: 'tail:paper-v100x4@20:e2eP99Ratio', scenario: 'paper-v100x4@20', measure: 'p99E2eMs', most: 1.1 },
  { name: 'tail:azure-chat-over:e2eP99Ratio', scenario: 'azure-chat-over', measure: 'p99E2eMs', most: 1.15 },
  { name: 'tail:azure-code-over:e2eP99Ratio', scenario: 'azure-code-over', measure: 'p99E2eMs', most: 1.15 },
] as const
const GEOMEAN_GOAL = 0.12
const WORST_GOAL = 0.01
const TTFT_GOAL = 1.2

/** The bars of `learned` on what was played; those that need peers or least-request only where these were. */
export function barsOf(cells: readonly Cell[]): Bar[] {
  const learned = cells.filter((cell) => cell.arm === 'learned')
  const peers = new Set(cells.filter((cell) => isPeer(cell.arm) && cell.arm !== 'round-robin').map((cell) => cell.arm))
  const of = (scenario: string): Cell | undefined => learned.find((cell) => cell.scenario === scenario)
  const gains = Object.entries(GAINS).flatMap(([scenario, goal]) => {
    const cell = of(scenario)
    return cell ? [atLeast(`gain:${scenario}`, short(cell.gainVsRoundRobin.mean), goal)] : []
  })
  const tails = TAILS.flatMap(({ name, scenario, measure, most }) => {
    const cell = of(scenario)
    return cell ? [atMost(name, short(cell.ratioTo('round-robin', measure).mean), most)] : []
  })
  return [...gains, ...(learned.length > 0 && peers.size > 0 ? peerBars(learned, peers) : []), ...tails]
}

function peerBars(learned: readonly Cell[], peers: ReadonlySet<string>): Bar[] {
  const ratios = learned.map((cell) => 1 - cell.gainVsBest.mean)
  const geomean = Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length)
  const calm = peers.has('least-request') ? learned.filter((cell) => !OVERLOAD.includes(cell.scenario)) : []
  return [
    atLeast('geomeanVsBestPeer', short(1 - geomean), GEOMEAN_GOAL),
    atMost('worstVsBestPeer', short(Math.max(...ratios) - 1), WORST_GOAL),
    ...(calm.length === 0 ? [] : [atMost('ttftP99VsLeastRequest', short(Math.max(...calm.map(ttftRatio))), TTFT_GOAL)]),
  ]
}

function ttftRatio(cell: Cell): number {
  return cell.ratioTo('least-request', 'p99TtftMs').mean
}

/** One line per scenario: gains with their intervals, and what the tails cost. */
export function tailLines(cells: readonly Cell[]): string[] {
  return cells
    .filter((cell) => cell.arm === 'learned')
    .map((cell) => {
      const tails = [
        `E2E p99 ${ratio(cell.ratioTo('round-robin', 'p99E2eMs'))} of round robin's`,
        `TTFT p99 ${ratio(cell.ratioTo('round-robin', 'p99TtftMs'))}`,
        ...(cells.some((one) => one.arm === 'least-request')
          ? [`and ${ratio(cell.ratioTo('least-request', 'p99TtftMs'))} of least-request's`]
          : []),
      ]
      return `${cell.scenario}: learned ${percent(cell.gainVsRoundRobin)} over round robin, ${percent(cell.gainVsBest)} over ${cell.best}; ${tails.join(', ')}`
    })
}

const short = (value: number): number => Math.round(value * 10_000) / 10_000
const share = (value: number): string => `${(100 * value).toFixed(1)} %`
const percent = ({ mean, low, high }: Estimate): string => `${share(mean)} [${share(low)}, ${share(high)}]`
const ratio = ({ mean, low, high }: Estimate): string => `${mean.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]`
