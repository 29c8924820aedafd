import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { BASE_POLICY_FOLDER } from '../../plugin/learning/policy-folder.ts'
import { atMost, type BenchResult, type Row } from './harness.ts'
import { DATA_DIR } from './placement/catalogue.ts'
import { playAll } from './placement/crew.ts'
import { type Estimate, pairedRatio } from './placement/statistics.ts'
import { codeVersion, keyOf, type Unit } from './placement/work.ts'

const RESULTS_DIR = new URL('../../.phasewise/bench/', import.meta.url).pathname
const LEARNED = 'learned'
const PEER = 'least-request'
/** Upper 95 % bound of the mean E2E over least-request's, less 1. */
const WORST_GOAL = 0.02
/** Equal instances without and with memory pressure, and unequal ones. */
const SCENARIOS = ['v100x4@20', 'paper-v100x4@14', 'a100x4@110', 'mixed@60']

type Trouble = Partial<Omit<Unit, 'scenario' | 'seed' | 'arms'>>

/** What goes wrong, row by row. */
const TROUBLES: Readonly<Record<string, Trouble>> = {
  'lengths predicted with σ 1': { sigma: 1 },
  'lengths predicted with σ 2': { sigma: 2 },
  'lengths predicted by chance': { blind: true },
  'signals 1 s old': { scrapeMs: 1_000 },
  'signals 10 s old': { scrapeMs: 10_000 },
  'profiles believed 30 % too slow': { believedFactor: 1.3 },
  'profiles believed 30 % too fast': { believedFactor: 0.7 },
  '4 routers': { routers: 4 },
  'one instance 3 × slower': { slowFactor: 3 },
  'half of the load foreign': { foreign: true },
}

/** The learned policy where what it believes is wrong: paired seeds against least-request, which believes nothing. */
export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seeds: { type: 'string', default: '20' },
      first: { type: 'string', default: '401' },
      scenarios: { type: 'string', default: SCENARIOS.join(',') },
      model: { type: 'string', default: BASE_POLICY_FOLDER },
      workers: { type: 'string', default: String(Math.min(2, availableParallelism())) },
    },
  })
  const scenarios = values.scenarios.split(',')
  const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => Number(values.first) + i)
  const cases = Object.entries(TROUBLES).flatMap(([what, trouble]) =>
    scenarios.map((scenario) => ({ what, scenario, units: seeds.map((seed) => unitOf(scenario, seed, trouble)) })),
  )
  const scores = await playAll({
    units: cases.flatMap(({ units }) => units),
    journal: join(RESULTS_DIR, `robust-${codeVersion()}.jsonl`),
    workers: Number(values.workers),
    dataDir: DATA_DIR,
    modelFolder: values.model,
  })
  const figures = (units: readonly Unit[], arm: string): number[] =>
    units.map((unit) => {
      const score = scores.get(keyOf(unit))?.get(arm)
      if (!score) throw new Error(`${arm} was not played on ${unit.scenario}`)
      return score.meanE2eMs
    })
  const judged = cases.map(({ what, scenario, units }) => ({
    what,
    scenario,
    ratio: pairedRatio(figures(units, LEARNED), figures(units, PEER)),
  }))
  return { rows: judged.map(rowOf), bars: [atMost('worst', rounded(Math.max(...judged.map(({ ratio }) => ratio.high)) - 1), WORST_GOAL)] }
}

function unitOf(scenario: string, seed: number, trouble: Trouble): Unit {
  return { scenario, seed, arms: [LEARNED, PEER], rateFactor: 1, routers: 1, scrapeMs: 50, sigma: 0.5, ...trouble }
}

function rowOf({ what, scenario, ratio }: { readonly what: string; readonly scenario: string; readonly ratio: Estimate }): Row {
  return { what, scenario, meanE2eRatio: rounded(ratio.mean), low: rounded(ratio.low), high: rounded(ratio.high) }
}

const rounded = (value: number): number => Math.round(value * 10_000) / 10_000
