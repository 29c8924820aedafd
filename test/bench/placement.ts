import { writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { BASE_POLICY_FOLDER, readPolicyModel } from '../../plugin/learning/policy-folder.ts'
import { POLICY_NAMES } from '../../plugin/placement/policies.ts'
import type { Scenario } from '../../plugin/simulation/scenario/scenarios.ts'
import type { BenchResult } from './harness.ts'
import { barsOf, tailLines } from './placement/bars.ts'
import { DATA_DIR, loadCatalogue } from './placement/catalogue.ts'
import { ceilings } from './placement/ceiling.ts'
import { playAll } from './placement/crew.ts'
import { plotScenarios } from './placement/plot.ts'
import { type Cell, compare, paperTable } from './placement/report.ts'
import { codeVersion, type Unit } from './placement/work.ts'

/** Figures and journals of earlier runs. */
const RESULTS_DIR = new URL('../../.phasewise/bench/', import.meta.url).pathname

/** Arms beyond the plain policies: the hold rule in front of the best simple placement, and ceilings. */
const FURTHER_ARMS = [
  'learned',
  'learned + off',
  'least-kv + kv-time',
  'least-kv + engine-priority',
  'oracle-predicted-latency',
  'oracle-impact',
]

/** The protocol's loads (share of measured saturation), ages of signals (ms) and numbers of routers. */
const LOADS = [0.5, 0.7, 0.85, 0.95, 1.2, 1.75]
const STALENESS_MS = [0, 50, 1000, 10_000]
const ROUTERS = [1, 2, 4]
const USUAL = { rateFactor: 1, routers: 1, scrapeMs: 50, sigma: 0.5 }
const SWEEP_LOAD = 0.85

/**
 * Every policy on every named scenario: common random numbers, paired 95 % intervals of the gain over round robin and over the best
 * simple policy; then the bars of the learned policy, of one model in all scenarios. `--sweep` runs loads, ages of signals, numbers of routers and unequal fleets instead; `--plot DIR` draws both. `--ceiling N` tells instead how far a policy comes that is searched on the judged calls
 * themselves and told every length.
 */
export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seeds: { type: 'string', default: '10' },
      /** Training draws seeds above a million, and the hold's defaults were chosen on 1 to 10: judge on others. */
      first: { type: 'string', default: '301' },
      model: { type: 'string', default: BASE_POLICY_FOLDER },
      scenarios: { type: 'string' },
      policies: { type: 'string' },
      sweep: { type: 'boolean', default: false },
      plot: { type: 'string' },
      /** Generations of a search on the judged calls under true lengths; prints that table alone, of the first seed. */
      ceiling: { type: 'string' },
      workers: { type: 'string', default: String(Math.min(2, availableParallelism())) },
      data: { type: 'string', default: DATA_DIR },
      fresh: { type: 'boolean', default: false },
    },
  })
  const catalogue = await loadCatalogue(values.data)
  for (const line of catalogue.skipped) console.error(line)
  const wanted = values.scenarios?.split(',')
  const known = [...catalogue.named, ...catalogue.sweep, ...catalogue.more]
  for (const name of wanted ?? [])
    if (!known.some((one) => one.name === name))
      throw new Error(`no scenario ${name}; there are ${known.map((one) => one.name).join(', ')}`)
  const scenarios = (values.sweep ? catalogue.sweep : wanted ? known : catalogue.named).filter((one) => wanted?.includes(one.name) ?? true)
  if (values.ceiling) {
    const model = readPolicyModel(values.model)
    return { rows: ceilings({ scenarios, seed: Number(values.first), generations: Number(values.ceiling), model }), bars: [] }
  }
  const arms = values.policies?.split(',') ?? [...POLICY_NAMES, ...FURTHER_ARMS]
  const plan = {
    seeds: Number(values.seeds),
    first: Number(values.first),
    arms: ['round-robin', ...arms.filter((arm) => arm !== 'round-robin')],
  }
  const units = values.sweep ? sweepUnits(scenarios, plan) : scenarios.flatMap((scenario) => seedsOf(scenario, plan, USUAL))
  const version = values.fresh ? `${codeVersion()}-${process.pid}` : codeVersion()
  const scores = await playAll({
    units,
    journal: join(RESULTS_DIR, `placement-${version}.jsonl`),
    workers: Number(values.workers),
    dataDir: values.data,
    modelFolder: values.model,
  })
  const cells = compare(units, scores)
  const labels = new Map(scenarios.map((one) => [one.name, one.label]))
  const rows = cells.map((cell) => rowOf(cell, values.sweep ? cell.circumstances : (labels.get(cell.scenario) ?? '')))
  writeFileSync(
    join(RESULTS_DIR, values.sweep ? 'sweep.json' : 'placement.json'),
    `${JSON.stringify({ version, seeds: plan.seeds, rows }, null, 1)}\n`,
  )
  if (values.plot) for (const file of plotScenarios(cells, values.plot)) console.error(`drawn: ${file}`)
  for (const line of paperTable(cells)) console.log(line)
  if (values.sweep) return { rows, bars: [] }
  for (const line of tailLines(cells)) console.log(line)
  return { rows, bars: barsOf(cells) }
}

interface Plan {
  readonly seeds: number
  readonly first: number
  readonly arms: readonly string[]
}

function seedsOf(scenario: Scenario, { seeds, first, arms }: Plan, circumstances: Omit<Unit, 'scenario' | 'seed' | 'arms'>): Unit[] {
  return Array.from({ length: seeds }, (_, i) => ({ scenario: scenario.name, seed: first + i, arms, ...circumstances }))
}

/** One thing varied at a time around load 0.85, signals 50 ms old and one router. */
function sweepUnits(scenarios: readonly Scenario[], plan: Plan): Unit[] {
  return scenarios.flatMap((scenario) => [
    ...LOADS.flatMap((rateFactor) => seedsOf(scenario, plan, { ...USUAL, rateFactor })),
    ...STALENESS_MS.filter((scrapeMs) => scrapeMs !== USUAL.scrapeMs).flatMap((scrapeMs) =>
      seedsOf(scenario, plan, { ...USUAL, rateFactor: SWEEP_LOAD, scrapeMs }),
    ),
    ...ROUTERS.filter((routers) => routers !== USUAL.routers).flatMap((routers) =>
      seedsOf(scenario, plan, { ...USUAL, rateFactor: SWEEP_LOAD, routers }),
    ),
  ])
}

function rowOf(cell: Cell, label: string): Record<string, string | number> {
  const { mean, gainVsRoundRobin, gainVsBest } = cell
  const ms = (value: number): number => Math.round(value * 10) / 10
  const share = (value: number): number => Math.round(value * 10_000) / 10_000
  return {
    scenario: cell.scenario,
    label,
    policy: cell.arm,
    meanE2eMs: ms(mean('meanE2eMs')),
    p50: ms(mean('p50E2eMs')),
    p95: ms(mean('p95E2eMs')),
    p99: ms(mean('p99E2eMs')),
    ttftMeanMs: ms(mean('meanTtftMs')),
    ttftP99Ms: ms(mean('p99TtftMs')),
    tpotMs: ms(mean('meanTpotMs')),
    gainVsRoundRobin: share(gainVsRoundRobin.mean),
    low: share(gainVsRoundRobin.low),
    high: share(gainVsRoundRobin.high),
    gainVsBest: share(gainVsBest.mean),
    bestLow: share(gainVsBest.low),
    bestHigh: share(gainVsBest.high),
    best: cell.best,
    makespanMs: ms(mean('makespanMs')),
    preemptions: ms(mean('preemptions')),
    lost: ms(mean('lost')),
    heldP99Ms: ms(mean('p99HeldMs')),
    busiestShare: share(cell.busiestShare),
  }
}
