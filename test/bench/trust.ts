import { parseArgs } from 'node:util'
import { BASE_POLICY_FOLDER, readPolicyModel } from '../../plugin/learning/policy-folder.ts'
import { calibrateProfiles } from '../../plugin/learning/profiles.ts'
import { createPolicy } from '../../plugin/placement/policies.ts'
import { createRng } from '../../plugin/rng.ts'
import { profileNamed } from '../../plugin/simulation/profiles.ts'
import { drawPaper, drawWide } from '../../plugin/simulation/scenario/mixes.ts'
import { generatedScenarios } from '../../plugin/simulation/scenario/scenarios.ts'
import { atLeast, atMost, type Bar, type BenchResult, progress, type Row, rounded } from './harness.ts'
import { type Explained, explainSampled } from './trust/explained.ts'
import { hideProfile, logDay, swingingCalls, twinErrors } from './trust/hidden.ts'
import { POISONS, sleepOn } from './trust/poisoned.ts'
import { PROMISED_CASES, promiseAndMeasure } from './trust/promised.ts'
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
      alike: { type: 'string', default: '4' },
    },
  })
  const only = values.only.split(',')
  const seed = Number(values.seed)
  const parts: Readonly<Record<string, () => Promise<BenchResult>>> = {
    explained: async () => explained(),
    withdrawn: async () => withdrawn({ bad: Number(values.bad), alike: Number(values.alike), first: 100 * seed }),
    promised: () => promised(seed),
    poisoned: () => poisoned(seed, Number(values.seeds)),
    calibrated: async () => calibrated(seed),
  }
  const results: BenchResult[] = []
  for (const name of only) {
    const part = parts[name]
    if (!part) throw new Error(`there is no part ${JSON.stringify(name)}; there are ${PARTS.join(', ')}`)
    const result = await part()
    console.table(result.rows)
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

async function promised(seed: number): Promise<BenchResult> {
  const rows: Row[] = []
  let worst = 0
  for (const [i, given] of PROMISED_CASES.entries()) {
    const row = await promiseAndMeasure(given, seed)
    worst = Math.max(worst, row.points)
    rows.push({
      part: 'promised',
      fleet: row.name,
      serving: row.serving,
      challenger: row.challenger,
      promised: rounded(row.promised),
      measured: rounded(row.measured.gain),
      low: rounded(row.measured.low),
      high: rounded(row.measured.high),
      blocks: row.measured.controlBlocks + row.measured.challengerBlocks,
      blocksNeeded: row.blocksNeeded,
      points: rounded(row.points),
    })
    progress(i + 1, PROMISED_CASES.length, given.name)
  }
  return { rows, bars: [atMost('promisedVsMeasuredPoints', worst, 3)] }
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

const CALIBRATED = ['v100-32g', 'a100-7b', 'a100-8b', 'v100-paper', 'rtx4090-llama-3.1-8b', 'h100-llama-2-7b']
const KNOWN_CALLS = 20_000
const LATER_CALLS = 5_000

/** Twins of hidden fleets: two instances of one hidden profile each, 20,000 calls to learn from, means on the next 5,000. */
function calibrated(seed: number): BenchResult {
  const rows = CALIBRATED.map((name, i): Row => {
    const rng = createRng(seed)
    const hidden = hideProfile(profileNamed(name), rng)
    const fleet = ['a', 'b'].map((one) => ({ name: one, profile: hidden }))
    const mix = name === 'v100-paper' ? drawPaper : drawWide
    const day = logDay(fleet, { calls: swingingCalls(fleet, { calls: KNOWN_CALLS + LATER_CALLS, mix, rng }), rng })
    const instances = fleet.map((one) => ({ name: one.name, speed: 1, kvTokens: hidden.kvBlocks * 16 }))
    const found = calibrateProfiles({ instances, calls: day.rows.slice(0, KNOWN_CALLS), scrapes: day.scrapes })
    const fromUnixMs = day.rows[KNOWN_CALLS]!.arrivedUnixMs
    const errors = twinErrors(day.rows, { profiles: found, fromUnixMs })
    const truth = twinErrors(day.rows, {
      profiles: fleet.map((one) => ({ instance: one.name, profile: hidden, overheadMs: 3 })),
      fromUnixMs,
    })
    progress(i + 1, CALIBRATED.length, name)
    return {
      part: 'calibrated',
      hidden: `${name}, ${hidden.kvBlocks} blocks, ${hidden.seats} seats`,
      state: found[0]!.state,
      ttft: rounded(errors.ttft),
      tpot: rounded(errors.tpot),
      e2e: rounded(errors.e2e),
      // What the true profile misses is chance: arrivals are logged in whole milliseconds, times with noise.
      truthTtft: rounded(truth.ttft),
      truthE2e: rounded(truth.e2e),
      seats: found[0]!.profile.seats,
    }
  })
  const bars: Bar[] = [
    atMost('calibrationWorst', Math.max(...rows.flatMap((row) => [row.ttft, row.tpot, row.e2e].map((one) => Math.abs(Number(one))))), 0.03),
  ]
  return { rows, bars }
}
