import { parseArgs } from 'node:util'
import { searchCeiling } from '../../plugin/learning/paper-ceiling.ts'
import { PAPER_CONSTANTS, paperSettings } from '../../plugin/learning/paper-constants.ts'
import { PAPER_ARMS, type PaperArm } from '../../plugin/learning/paper-reward.ts'
import { createRng } from '../../plugin/rng.ts'
import { playArm } from '../../plugin/simulation/scenario/arm.ts'
import { paperScenarios } from '../../plugin/simulation/scenario/paper-scenarios.ts'
import type { Scenario } from '../../plugin/simulation/scenario/scenarios.ts'
import { atLeast, type BenchResult, progress, type Row, rounded } from './harness.ts'
import { type EpisodeTimes, plotTraining } from './paper/curves.ts'
import { figureOf, gainOf, type Judged, type Judging, judgeNet, judgeRule, RULES } from './paper/judge.ts'
import { netOf } from './paper/nets.ts'
import { PUBLISHED } from './paper/published.ts'
import { meanOf } from './placement/statistics.ts'

/** The paper's own figure for its best arm, by which the bars are set; ours is of the mean E2E, theirs of the makespan. */
const BARS = [
  { name: 'guidedGain4', scenario: 'paper-v100x4@20', goal: 0.1143 },
  { name: 'guidedGain8', scenario: 'paper-v100x8@40', goal: 0.1162 },
] as const

/**
 * The paper reproduced: trains its three arms with several seeds on each of its settings, judges them on workloads that none of them met, and
 * prints them beside what the paper reports, beside rules that need no training, and beside what a clairvoyant search makes of the makespan.
 * Nets are kept by code and constants, so that a second run only judges.
 */
export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      arms: { type: 'string', default: PAPER_ARMS.join(',') },
      scenarios: {
        type: 'string',
        default: paperScenarios()
          .map(({ name }) => name)
          .join(','),
      },
      seeds: { type: 'string', default: '5' },
      episodes: { type: 'string', default: String(PAPER_CONSTANTS.episodes.value) },
      /** Workloads per seed that judge. */
      workloads: { type: 'string', default: '3' },
      /** Schedules that the clairvoyant search tries per setting; 0: none. */
      tries: { type: 'string', default: '300' },
    },
  })
  const settings = paperSettings({ episodes: wholeNumber('episodes', values.episodes, 1) })
  const arms = values.arms === '' ? [] : values.arms.split(',').map(armNamed)
  const scenarios = values.scenarios.split(',').map(scenarioNamed)
  const plan = { arms, settings, seeds: wholeNumber('seeds', values.seeds, 1), workloads: wholeNumber('workloads', values.workloads, 1) }
  console.table(Object.entries(PAPER_CONSTANTS).map(([name, { value, source, why }]) => ({ name, value, source, why })))
  const results: { readonly scenario: Scenario; readonly judged: ReadonlyMap<string, Judged[]> }[] = []
  for (const scenario of scenarios) {
    results.push({ scenario, judged: await judgeAll(scenario, plan) })
    if (Number(values.tries) > 0) console.log(ceilingLine(scenario, wholeNumber('tries', values.tries, 0)))
  }
  if (arms.length === PAPER_ARMS.length) for (const { scenario, judged } of results) console.log(orderLine(scenario, judged))
  return {
    rows: results.flatMap(({ scenario, judged }) => [...judged].map(([arm, seeds]) => rowOf(scenario, arm, seeds))),
    bars: BARS.flatMap(({ name, scenario, goal }) => {
      const guided = results.find((one) => one.scenario.name === scenario)?.judged.get('guided')
      return guided ? [atLeast(name, gainOf(guided, (score) => score.meanE2eMs).mean, goal)] : []
    }),
  }
}

interface Plan extends Pick<Judging, 'settings' | 'workloads'> {
  readonly arms: readonly PaperArm[]
  readonly seeds: number
}

/** Every rule and every arm, seed by seed. */
async function judgeAll(scenario: Scenario, { arms, settings, seeds, workloads }: Plan): Promise<Map<string, Judged[]>> {
  const judged = new Map<string, Judged[]>([...RULES, ...arms].map((arm) => [arm, []]))
  const times = new Map<PaperArm, EpisodeTimes[]>()
  const baseMs: number[] = []
  for (let seed = 1; seed <= seeds; seed++) {
    const judging = { scenario, settings, seed, workloads }
    const base = judgeRule('round-robin', judging)
    baseMs.push(...base.map((score) => score.meanE2eMs))
    for (const rule of RULES) judged.get(rule)?.push({ scores: judgeRule(rule, judging), base })
    for (const arm of arms) {
      const { net, episodes } = await netOf({ arm, scenario, seed, settings })
      judged.get(arm)?.push({ scores: judgeNet(net, judging), base })
      times.set(arm, [...(times.get(arm) ?? []), episodes])
      progress((seed - 1) * arms.length + arms.indexOf(arm) + 1, seeds * arms.length, `${scenario.name}: ${arm}, seed ${seed}`)
    }
  }
  if (arms.length > 0) console.log(`training curves: ${plotTraining(scenario.name, { byArm: times, roundRobinMs: meanOf(baseMs) })}`)
  return judged
}

function rowOf({ name }: Scenario, arm: string, seeds: readonly Judged[]): Row {
  const e2e = gainOf(seeds, (score) => score.meanE2eMs)
  const makespan = gainOf(seeds, (score) => score.makespanMs)
  const published = PUBLISHED[name]?.[arm as PaperArm]
  const percent = (share: number): number => Math.round(share * 10_000) / 100
  const seconds = (figure: Parameters<typeof figureOf>[1]): number => rounded(figureOf(seeds, figure) / 1000)
  return {
    scenario: name,
    arm,
    'E2E %': percent(e2e.mean),
    'E2E low': percent(e2e.low),
    'E2E high': percent(e2e.high),
    'makespan %': percent(makespan.mean),
    'makespan low': percent(makespan.low),
    'makespan high': percent(makespan.high),
    'paper makespan %': published?.gain ?? '',
    'held s': seconds((score) => score.meanHeldMs),
    'paper held s': published?.holdS ?? '',
    'E2E p50 s': seconds((score) => score.p50E2eMs),
    'E2E p99 s': seconds((score) => score.p99E2eMs),
    'TTFT p99 s': seconds((score) => score.p99TtftMs),
    preemptions: Math.round(figureOf(seeds, (score) => score.preemptions)),
  }
}

/** Whether Baseline < Aware < Guided by mean E2E, as the paper has it by makespan. */
function orderLine({ name }: Scenario, judged: ReadonlyMap<string, readonly Judged[]>): string {
  const gains = PAPER_ARMS.flatMap((arm) => {
    const seeds = judged.get(arm)
    return seeds ? [{ arm, gain: gainOf(seeds, (score) => score.meanE2eMs).mean }] : []
  })
  const holds = gains.every(({ gain }, i) => i === 0 || gain > (gains[i - 1]?.gain ?? Number.NEGATIVE_INFINITY))
  return `${name}: order of the paper's arms by mean E2E ${holds ? 'holds' : 'does not hold'}: ${gains.map(({ arm, gain }) => `${arm} ${(100 * gain).toFixed(2)} %`).join(', ')}`
}

function ceilingLine(scenario: Scenario, tries: number): string {
  const calls = scenario.calls({ seed: 100 })
  const base = playArm(ROUND_ROBIN, { scenario, calls, seed: 1 }).makespanMs
  const { makespanMs, startMs, tried } = searchCeiling({ scenario, calls, tries, rng: createRng(1) })
  const gain = (ms: number): string => `${(100 * (1 - ms / base)).toFixed(2)} %`
  return `${scenario.name}: makespan that a clairvoyant search reached: ${gain(makespanMs)} under round robin after ${tried} schedules (longest first: ${gain(startMs)})`
}

const ROUND_ROBIN = { policy: 'round-robin' }

function armNamed(name: string): PaperArm {
  const arm = PAPER_ARMS.find((one) => one === name)
  if (!arm) throw new Error(`no arm ${JSON.stringify(name)}; there are ${PAPER_ARMS.join(', ')}`)
  return arm
}

function scenarioNamed(name: string): Scenario {
  const scenarios = paperScenarios()
  const scenario = scenarios.find((one) => one.name === name)
  if (!scenario) throw new Error(`no scenario ${JSON.stringify(name)}; there are ${scenarios.map((one) => one.name).join(', ')}`)
  return scenario
}

function wholeNumber(option: string, text: string, least: number): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < least)
    throw new Error(`--${option} must be a whole number from ${least} on, got ${JSON.stringify(text)}`)
  return value
}
