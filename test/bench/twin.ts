import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { compareRun, type LatencyError, replayRun } from '../../plugin/simulation/accuracy.ts'
import { readProfile } from '../../plugin/simulation/profile-file.ts'
import { readRecordedRun } from '../../plugin/simulation/recorded-run.ts'
import { atLeast, atMost, type Bar, type BenchResult, type Row, rounded } from './harness.ts'
import { DATA_DIR } from './placement/catalogue.ts'
import { compareLlmd } from './twin/llm-d.ts'
import { measureSpeed, profileSpeed } from './twin/speed.ts'

const RUN = 'llmservingsim/bench/examples/RTX4090/Llama-3.1-8B'
const RUN_PROFILE = 'rtx4090-llama-3.1-8b'
const CALLS_PER_S_GOAL = 100_000
const CALLS_PER_S_PREFIX_GOAL = 30_000
const MEAN_ERROR_GOAL = 0.02
const P90_ERROR_GOAL = 0.05
/** Memory held may grow by this much between the first tenth of the calls and the last: the longest queue met so far stays allocated. */
const GROWTH_MB_GOAL = 2

/**
 * How fast the twin is and how true. `--run DIR --profile FILE` compares a recorded run of LLMServingSim's format and nothing else; `--calls N` sets how many
 * calls the speed is measured on (10,000,000 shows that memory stays flat).
 */
export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      run: { type: 'string' },
      profile: { type: 'string', default: RUN_PROFILE },
      calls: { type: 'string', default: '1000000' },
      data: { type: 'string', default: DATA_DIR },
    },
  })
  if (values.run !== undefined) return accuracy(values.run, values.profile)
  const calls = Number(values.calls)
  const plain = measureSpeed({ calls, prefix: false })
  const prefix = measureSpeed({ calls: Math.ceil(calls / 4), prefix: true })
  for (const row of [plain, prefix])
    console.log(
      `${row.what}: ${Math.round(row.callsPerS).toLocaleString('en')} calls/s of CPU time, memory held ${row.grownMb >= 0 ? '+' : ''}${row.grownMb.toFixed(1)} MB`,
    )
  console.log('Where the time of one simulated call goes (self time):')
  console.table(await profileSpeed(Math.min(calls, 300_000)))
  const bars: Bar[] = [
    atLeast('callsPerSecond', plain.callsPerS, CALLS_PER_S_GOAL),
    atLeast('callsPerSecondPrefix', prefix.callsPerS, CALLS_PER_S_PREFIX_GOAL),
    atMost('memoryGrownMb', plain.grownMb, GROWTH_MB_GOAL),
  ]
  const folder = `${values.data}${RUN}`
  if (!existsSync(folder)) {
    console.error(`accuracy skipped: ${RUN} is not in ${values.data}`)
    return { rows: [], bars }
  }
  const compared = accuracy(folder, values.profile)
  compareLlmd(values.data)
  return { rows: compared.rows, bars: [...bars, ...compared.bars] }
}

function accuracy(folder: string, profileName: string): BenchResult {
  const recorded = readRecordedRun(folder)
  const profile = readProfile(profileName)
  console.log(`${recorded.label}; ${recorded.kvBlocks} blocks, ${recorded.seats} seats; profile ${profile.name}`)
  const errors = compareRun(recorded, replayRun(recorded, profile))
  return { rows: errors.map(rowOf), bars: errors.flatMap(barsOf) }
}

function rowOf(error: LatencyError): Row {
  const percent = (value: number): string => `${value >= 0 ? '+' : ''}${(100 * value).toFixed(2)} %`
  return {
    latency: error.latency,
    realMeanMs: rounded(error.realMeanMs),
    twinMeanMs: rounded(error.twinMeanMs),
    mean: percent(error.mean),
    p50: percent(error.p50),
    p90: percent(error.p90),
    p99: percent(error.p99),
  }
}

function barsOf(error: LatencyError): Bar[] {
  return [
    atMost(`${error.latency}Err`, Math.abs(error.mean), MEAN_ERROR_GOAL),
    atMost(`${error.latency}P90Err`, Math.abs(error.p90), P90_ERROR_GOAL),
  ]
}
