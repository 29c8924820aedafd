import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { fitOperators, holdsOperators } from '../../plugin/simulation/fitting/operators.ts'
import { type FittedProfile, fitSource, PROFILE_SOURCES } from '../../plugin/simulation/fitting/sources.ts'
import { PROFILES } from '../../plugin/simulation/profiles.ts'
import type { BenchResult, Row } from './harness.ts'
import { DATA_DIR } from './placement/catalogue.ts'

/** The profiles that ship beside those of the table, as JSON. */
const SHIPPED = new URL('../../plugin/simulation/fitted-profiles.json', import.meta.url)

/**
 * Fits every profile that the public data supports and prints its errors. `--write` renews the shipped file; `--perf DIR --layers N` fits one folder of
 * LLMServingSim's operator times and prints the profile as JSON, for `bench twin --profile`.
 */
export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      data: { type: 'string', default: DATA_DIR },
      write: { type: 'boolean', default: false },
      perf: { type: 'string' },
      layers: { type: 'string', default: '32' },
    },
  })
  if (values.perf !== undefined) {
    if (!holdsOperators(values.perf)) throw new Error(`${values.perf} holds no dense.csv, per_sequence.csv and attention.csv`)
    const { law } = fitOperators(values.perf, Number(values.layers))
    const base = PROFILES.get('rtx4090-llama-3.1-8b')
    console.log(JSON.stringify({ ...base, name: 'fitted', label: values.perf, law }, null, 1))
    return { rows: [], bars: [] }
  }
  const fitted: FittedProfile[] = []
  for (const source of PROFILE_SOURCES) {
    const one = fitSource(source, values.data)
    if (one) fitted.push(one)
    else console.error(`${source.name} skipped: ${source.files.join(', ')} not in ${values.data}`)
  }
  if (values.write) writeFileSync(SHIPPED, `${JSON.stringify(fitted.map(shippedOf), null, 2)}\n`)
  return { rows: fitted.flatMap(rowsOf), bars: [] }
}

function shippedOf({ profile, source, fits }: FittedProfile): unknown {
  const errors = Object.fromEntries(
    Object.entries(fits).map(([part, { meanError, worstError, points }]) => [
      part,
      { meanError: Number(meanError.toFixed(4)), worstError: Number(worstError.toFixed(4)), points },
    ]),
  )
  return { ...profile, fittedFrom: { files: source.files, note: source.note, errors } }
}

function rowsOf({ profile, source, fits }: FittedProfile): Row[] {
  return Object.entries(fits).map(([part, { meanError, worstError, points }]) => ({
    profile: profile.name,
    part,
    points,
    'mean error': `${(100 * meanError).toFixed(1)} %`,
    'worst error': `${(100 * worstError).toFixed(0)} %`,
    note: source.note,
  }))
}
