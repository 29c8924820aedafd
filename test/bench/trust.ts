import { parseArgs } from 'node:util'
import { BASE_POLICY_FOLDER, readPolicyModel } from '../../plugin/learning/policy-folder.ts'
import { createPolicy } from '../../plugin/placement/policies.ts'
import { generatedScenarios } from '../../plugin/simulation/scenario/scenarios.ts'
import { atLeast, atMost, type Bar, type BenchResult, progress, type Row, rounded } from './harness.ts'
import { CALIBRATED, type CalibratedRow, calibrateHidden } from './trust/calibrated.ts'
import { type Explained, explainSampled } from './trust/explained.ts'
import { POISONS, sleepOn } from './trust/poisoned.ts'
import { PROMISED_CASES, type PromisedRow, promiseAndMeasure } from './trust/promised.ts'
import { BAD_KINDS, watchAlike, watchBad } from './trust/withdrawn.ts'

const PARTS = ['explained', 'withdrawn', 'promised', 'poisoned', 'calibrated'] as const

/**
 * Can the night be trusted? Promised gains against measured ones, harmful canaries and harmless ones, explanations, nights on poisoned logs, and twins calibrated on logs of hidden
 * fleets. `--only` names parts; `--seed` draws other hidden fleets.
 */
export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string', default: PARTS.join(',') },
      seed: { type: 'string', default: '1' },
      /** Paired seeds after each poisoned night, seeds per bad model, and A/A runs per fleet and load. */
      seeds: { type: 'string', default: '20' },
      bad: { type: 'string', default: '1' },
      alike: { type: 'string', default: '25' },
      /** Draws of each hidden profile to calibrate. */
      hidden: { type: 'string', default: '2' },
      /** Cases of promised gains, counted from 1; all by default. */
      cases: { type: 'string' },
    },
  })
  const only = values.only.split(',')
  const seed = Number(values.seed)
  const parts: Readonly<Record<string, () => Promise<BenchResult>>> = {
    explained: async () => explained(),
    withdrawn: async () => withdrawn({ bad: Number(values.bad), alike: Number(values.alike), first: 100 * seed }),
    promised: () => promised({ seed, cases: values.cases?.split(',').map(Number) ?? PROMISED_CASES.map((_, i) => i + 1) }),
    poisoned: () => poisoned(seed, Number(values.seeds)),
    calibrated: async () => calibrated(Array.from({ length: Number(values.hidden) }, (_, i) => seed + i)),
  }
  const results: BenchResult[] = []
  for (const name of only) {
    const part = parts[name]
    if (!part) throw new Error(`there is no part ${JSON.stringify(name)}; there are ${PARTS.join(', ')}`)
    const result = await part()
    // The whole is printed at the end: one part alone would stand there twice.
    if (only.length > 1) console.table(result.rows)
    results.push(result)
  }
  return { rows: results.flatMap((one) => one.rows), bars: results.flatMap((one) => one.bars) }
}

const EXPLAINED_POLICIES = ['learned', 'least-request-speed', 'least-kv', 'lmetric', 'impact', 'dynamo-kv', 'paper-greedy']
const EXPLAINED_SCENARIOS = ['v100x4@20', 'mixed@60', 'a100x4@110']

function explained(): BenchResult {
  const model = readPolicyModel(BASE_POLICY_FOLDER)
  const scenarios = generatedScenarios().filter(({ name }) => EXPLAINED_SCENARIOS.includes(name))
  const found: Explained[] = EXPLAINED_POLICIES.flatMap((policy) =>
    scenarios.map((scenario) => {
      const shapes = new Map(scenario.fleet.map(({ name, profile }) => [name, profile]))
      return explainSampled({
        policy,
        scenario,
        wanted: 350,
        create: () => createPolicy(policy, { model, profileOf: ({ name }) => shapes.get(name) }),
      })
    }),
  )
  const ratios = EXPLAINED_POLICIES.map((policy) => {
    const own = found.filter((one) => one.policy === policy)
    return (
      own.reduce((sum, one) => sum + one.faithful, 0) /
      Math.max(
        1,
        own.reduce((sum, one) => sum + one.decisions, 0),
      )
    )
  })
  return {
    rows: found.map((one): Row => ({ part: 'explained', ...one, meanFeatures: rounded(one.meanFeatures) })),
    // Of the policy that is explained worst, each over about a thousand decisions.
    bars: [atLeast('explanationFaithful', Math.min(...ratios), 0.9)],
  }
}

function withdrawn(given: { readonly bad: number; readonly alike: number; readonly first: number }): BenchResult {
  const bad = [...counted(watchBad({ loads: [0.4, 0.75], seeds: given.bad }), 'bad canaries')]
  const alike = [...counted(watchAlike({ loads: [0.4, 0.7, 0.9], seeds: given.alike, first: given.first }), 'A/A canaries')]
  const never = bad.filter((one) => !one.withdrawal)
  const seconds = (one: (typeof bad)[number]): number => (one.withdrawal ? one.afterMs / 1000 : Number.POSITIVE_INFINITY)
  const rows = BAD_KINDS.map((kind): Row => {
    const own = bad.filter((one) => one.kind === kind)
    return {
      part: 'withdrawn',
      kind,
      canaries: own.length,
      withdrawn: own.filter((one) => one.withdrawal).length,
      worstSeconds: rounded(Math.max(...own.map(seconds))),
      worstCalls: Math.max(...own.map((one) => one.afterCalls)),
      signals: [...new Set(own.map((one) => one.withdrawal?.signal ?? 'none'))].join(', '),
    }
  })
  const falseOnes = alike.filter((one) => one.withdrawal)
  const calm = alike.reduce((sum, one) => sum + one.challengerCalls, 0)
  // 'Within 60 s or 200 calls, whichever is later': calls count where a withdrawal took longer than the minute.
  const slow = bad.filter((one) => seconds(one) > 60)
  return {
    rows: [
      ...rows,
      {
        part: 'withdrawn',
        kind: 'A/A',
        canaries: alike.length,
        withdrawn: falseOnes.length,
        falseRatio: rounded(falseOnes.length / Math.max(1, alike.length)),
        challengerCalls: calm,
        signals: falseOnes.map((one) => `${one.fleet} at ${one.load}, seed ${one.seed}: ${one.withdrawal?.words}`).join('; '),
      },
    ],
    bars: [
      atMost('withdrawSeconds', never.length > 0 ? Number.POSITIVE_INFINITY : Math.max(...bad.map(seconds)), 60),
      atMost('withdrawCalls', slow.length === 0 ? 0 : Math.max(...slow.map((one) => one.afterCalls)), 200),
      ...(alike.length > 0 ? [atMost('falseWithdrawals', falseOnes.length / alike.length, 0.01)] : []),
    ],
  }
}

function* counted<T>(all: Iterable<T>, what: string): Generator<T> {
  let done = 0
  for (const one of all) {
    if (++done % 10 === 0) console.error(`${done} ${what}`)
    yield one
  }
}

async function promised({ seed, cases }: { readonly seed: number; readonly cases: readonly number[] }): Promise<BenchResult> {
  const found: PromisedRow[] = []
  for (const number of cases) {
    const given = PROMISED_CASES[number - 1]
    if (!given) throw new Error(`there is no case ${number}; there are 1 to ${PROMISED_CASES.length}`)
    found.push(await promiseAndMeasure(given, seed))
    progress(found.length, cases.length, given.name)
  }
  const interval = (low: number, high: number): string => `${pointsOf(low)} to ${pointsOf(high)}`
  const rows = found.map(
    ({ name, serving, challenger, promised: said, measured, whole, blocksNeeded, points }): Row => ({
      part: 'promised',
      fleet: name,
      serving,
      challenger,
      'promised %': pointsOf(said[0]),
      'promised within': interval(said[1], said[2]),
      'measured %': pointsOf(measured.gain),
      'measured within': interval(measured.low, measured.high),
      'whole days %': pointsOf(whole.mean),
      'whole days within': interval(whole.low, whole.high),
      blocks: measured.controlBlocks + measured.challengerBlocks,
      blocksNeeded,
      points: rounded(points),
    }),
  )
  return { rows, bars: [atMost('promisedVsMeasuredPoints', rounded(Math.max(...found.map(({ points }) => points))), 3)] }
}

async function poisoned(seed: number, seeds: number): Promise<BenchResult> {
  const rows: Row[] = []
  let worst = Number.NEGATIVE_INFINITY
  for (const [i, poison] of POISONS.entries()) {
    const row = await sleepOn(poison, { seed, seeds })
    worst = Math.max(worst, row.loss.high)
    rows.push({
      part: 'poisoned',
      poison,
      promoted: row.promoted ? 'yes' : 'no',
      loss: rounded(row.loss.mean),
      upper95: rounded(row.loss.high),
      ungatedLoss: rounded(row.ungated.mean),
      ungatedUpper95: rounded(row.ungated.high),
      verdict: row.verdict.slice(0, 160),
    })
    progress(i + 1, POISONS.length, poison)
  }
  return { rows, bars: [atMost('poisonedWorst', worst, 0.02)] }
}

const pointsOf = (share: number): number => Math.round(share * 10_000) / 100

/** Twins of hidden fleets after 20,000 calls, judged on the next 5,000. Errors in %. */
function calibrated(seeds: readonly number[]): BenchResult {
  const plans = seeds.flatMap((seed) => CALIBRATED.map((fleet) => ({ seed, fleet })))
  const found = plans.flatMap(({ seed, fleet }, i) => {
    const own = calibrateHidden(fleet, seed)
    progress(i + 1, plans.length, `seed ${seed}: ${own[0]!.hidden}`)
    return own.map((row) => ({ ...row, seed }))
  })
  const rows = found.map(
    ({ seed, hidden, state, seats, seatsFrom, errors, truth, chanceTtft, versusTruth }): Row => ({
      part: 'calibrated',
      seed,
      hidden,
      state,
      seats: `${seats} (${seatsFrom})`,
      'TTFT %': pointsOf(errors.ttft),
      'TPOT %': pointsOf(errors.tpot),
      'E2E %': pointsOf(errors.e2e),
      'true TTFT %': pointsOf(truth.ttft),
      'true E2E %': pointsOf(truth.e2e),
      'chance TTFT %': pointsOf(chanceTtft),
      'vs true TTFT %': pointsOf(versusTruth.ttft),
      'vs true TPOT %': pointsOf(versusTruth.tpot),
      'vs true E2E %': pointsOf(versusTruth.e2e),
    }),
  )
  const worst = (of: (row: CalibratedRow) => Readonly<Record<'ttft' | 'tpot' | 'e2e', number>>): number =>
    Math.max(...found.flatMap((row) => [of(row).ttft, of(row).tpot, of(row).e2e].map(Math.abs)))
  const bars: Bar[] = [
    atMost('calibrationWorst', rounded(worst((row) => row.errors)), 0.03),
    atMost('calibrationWorstVsTrue', rounded(worst((row) => row.versusTruth)), 0.03),
  ]
  return { rows, bars }
}
