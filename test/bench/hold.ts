import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { POLICY_NAMES } from '../../plugin/placement/policies.ts'
import type { Score } from '../../plugin/simulation/scenario/score.ts'
import { atLeast, atMost, type BenchResult, type Row, rounded } from './harness.ts'
import { DATA_DIR } from './placement/catalogue.ts'
import { playAll, type Scores } from './placement/crew.ts'
import { type Estimate, estimate, meanOf, pairedGain } from './placement/statistics.ts'
import { codeVersion, keyOf, type Unit } from './placement/work.ts'

const JOURNAL_DIR = new URL('../../.phasewise/bench/', import.meta.url).pathname
const HOLD = 'kv-time'
/** The paper's own overload, where the bars stand. */
const OVERLOAD = 'paper-v100x4@20'
/** Enough capacity for all: holding must cost nothing here. */
const LIGHT = ['paper-v100x4@11', 'v100x4@12', 'v100x4@20', 'bursty']
/** In front of these the rule ships: the best simple placement by memory, and the router's default. */
const SHIPPED = ['least-kv', 'least-request-speed']
const BASE = 'round-robin'

/**
 * `hold: kv-time` in front of every placement policy: what it gains where memory binds, what it costs in the tail, and that it costs nothing where it does
 * not bind. Paired seeds; gains are of the mean E2E.
 */
export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seeds: { type: 'string', default: '10' },
      /** The defaults of the hold were chosen on seeds 1 to 10: judge it on others. */
      first: { type: 'string', default: '11' },
      policies: { type: 'string', default: POLICY_NAMES.filter((name) => name !== 'selective-push').join(',') },
      scenarios: { type: 'string', default: [OVERLOAD, ...LIGHT].join(',') },
      workers: { type: 'string', default: String(Math.min(2, availableParallelism())) },
    },
  })
  const policies = [...new Set([BASE, ...SHIPPED, ...values.policies.split(',')])]
  const arms = policies.flatMap((policy) => [policy, heldArm(policy)])
  const scenarios = values.scenarios.split(',')
  const units = scenarios.flatMap((scenario) =>
    Array.from(
      { length: Number(values.seeds) },
      (_, i): Unit => ({ scenario, seed: Number(values.first) + i, arms, rateFactor: 1, routers: 1, scrapeMs: 50, sigma: 0.5 }),
    ),
  )
  const journal = join(JOURNAL_DIR, `hold-${codeVersion()}.jsonl`)
  const scores = await playAll({ units, journal, workers: Number(values.workers), dataDir: DATA_DIR })
  const found = { units, scores }
  return {
    rows: scenarios.flatMap((scenario) => policies.map((policy) => rowOf(found, scenario, policy))),
    bars: barsOf(found, { scenarios, policies }),
  }
}

const heldArm = (policy: string): string => `${policy} + ${HOLD}`

interface Found {
  readonly units: readonly Unit[]
  readonly scores: Scores
}

/** One figure of one arm, seed by seed. */
function seedsOf({ units, scores }: Found, scenario: string, arm: string, figure: (score: Score) => number): number[] {
  return units
    .filter((unit) => unit.scenario === scenario)
    .map((unit) => {
      const score = scores.get(keyOf(unit))?.get(arm)
      if (!score) throw new Error(`${arm} was not played on ${scenario}`)
      return figure(score)
    })
}

const e2e = (score: Score): number => score.meanE2eMs

function gainOf(found: Found, scenario: string, ours: string, theirs: string): Estimate {
  return pairedGain(seedsOf(found, scenario, ours, e2e), seedsOf(found, scenario, theirs, e2e))
}

/** Mean over the seeds of ours ÷ round robin's. */
function ratioToBase(found: Found, scenario: string, arm: string, figure: (score: Score) => number): number {
  const base = seedsOf(found, scenario, BASE, figure)
  return estimate(seedsOf(found, scenario, arm, figure).map((value, i) => value / (base[i] as number))).mean
}

function rowOf(found: Found, scenario: string, policy: string): Row {
  const held = heldArm(policy)
  const alone = gainOf(found, scenario, policy, BASE)
  const gain = gainOf(found, scenario, held, BASE)
  const own = gainOf(found, scenario, held, policy)
  const mean = (figure: (score: Score) => number): number => meanOf(seedsOf(found, scenario, held, figure))
  return {
    scenario,
    policy,
    gainAlone: share(alone.mean),
    gainHeld: share(gain.mean),
    low: share(gain.low),
    high: share(gain.high),
    overOwn: share(own.mean),
    overOwnLow: share(own.low),
    overOwnHigh: share(own.high),
    e2eP50Ratio: rounded(ratioToBase(found, scenario, held, (one) => one.p50E2eMs)),
    e2eP99Ratio: rounded(ratioToBase(found, scenario, held, (one) => one.p99E2eMs)),
    ttftP99Ratio: rounded(ratioToBase(found, scenario, held, (one) => one.p99TtftMs)),
    heldMeanMs: Math.round(mean((one) => one.meanHeldMs)),
    heldP99Ms: Math.round(mean((one) => one.p99HeldMs)),
    preemptions: Math.round(mean((one) => one.preemptions)),
  }
}

const share = (value: number): number => Math.round(value * 10_000) / 10_000

function barsOf(
  found: Found,
  { scenarios, policies }: { readonly scenarios: readonly string[]; readonly policies: readonly string[] },
): BenchResult['bars'] {
  const best = heldArm('least-kv')
  const light = scenarios.filter((one) => LIGHT.includes(one))
  const losses = light.flatMap((scenario) => policies.map((policy) => -gainOf(found, scenario, heldArm(policy), policy).mean))
  return [
    ...(scenarios.includes(OVERLOAD)
      ? [
          atLeast(`gain:${OVERLOAD}`, share(gainOf(found, OVERLOAD, best, BASE).mean), 0.45),
          atMost('ttftP99Ratio', rounded(ratioToBase(found, OVERLOAD, best, (one) => one.p99TtftMs)), 1),
          atMost('e2eP99Ratio', rounded(ratioToBase(found, OVERLOAD, best, (one) => one.p99E2eMs)), 1.15),
        ]
      : []),
    ...(losses.length > 0 ? [atMost('lightLoadWorst', share(Math.max(...losses)), 0.005)] : []),
  ]
}
