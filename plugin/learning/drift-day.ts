import { type DriftRow, readDriftRows } from '../log/read/drift.ts'
import type { Reader } from '../log/read/reader.ts'
import type { TimeRange } from '../log/read/traffic.ts'
import { CALL_COLUMNS, CANDIDATE_COLUMNS, FEATURE_HASH } from '../placement/features.ts'
import { cumulativeAt, positionOf } from '../prediction/distribution.ts'
import type { DriftDay } from './drift.ts'

/** Calls of a day that are looked at: enough that a decile's share is known to a hundredth. */
const ROWS_MAX = 24_000
/** Read by the hour, and others run in between: a day of a busy router is many calls. */
const SLICES = 24
const COLUMNS: readonly string[] = [
  ...CALL_COLUMNS.map(({ name }) => name),
  // A call and a candidate may have columns of one name.
  ...CANDIDATE_COLUMNS.map(({ name }) => `chosen: ${name}`),
]

/** A stretch of the log as drift is told from it; `calls` is 0 where there are none. */
export async function gatherDriftDay(reader: Reader, { fromUnixMs, toUnixMs }: TimeRange): Promise<DriftDay> {
  const rows: DriftRow[] = []
  let calls = 0
  for (let slice = 0; slice < SLICES; slice++) {
    const at = (share: number): number => Math.floor(fromUnixMs + (share * (toUnixMs - fromUnixMs)) / SLICES)
    const own = reader.read((query) => readDriftRows(query, { fromUnixMs: at(slice), toUnixMs: at(slice + 1), rowsMax: ROWS_MAX / SLICES }))
    calls += own.calls
    rows.push(...own.rows)
    await new Promise((resolve) => setImmediate(resolve))
  }
  return dayOf(calls, rows)
}

function dayOf(calls: number, rows: readonly DriftRow[]): DriftDay {
  const seen = rows.flatMap(({ features, featureHash }) => (features && featureHash === FEATURE_HASH ? [features] : []))
  const whole = rows.filter((row) => row.censored === 0 && (row.outputTokens ?? 0) > 0)
  const stated = whole.flatMap(({ cumulative, outputTokens }) => (cumulative ? [{ cumulative, outputTokens: outputTokens as number }] : []))
  const inside = stated.filter(({ cumulative, outputTokens }) => {
    const below = cumulativeAt(cumulative, positionOf(outputTokens))
    return below >= 0.1 && below <= 0.9
  })
  return {
    calls,
    features: new Map(COLUMNS.map((column, k) => [column, Float64Array.from(seen, (features) => features[k] ?? Number.NaN)])),
    e2eResiduals: Float64Array.from(rows.flatMap(({ e2eMs, placedMs, predictedE2eMs }) => residual(e2eMs - placedMs, predictedE2eMs))),
    lengthResiduals: Float64Array.from(whole.flatMap((row) => residual(row.outputTokens ?? 0, row.predictedOutputTokens))),
    coverage80: stated.length === 0 ? Number.NaN : inside.length / stated.length,
  }
}

/** ln(measured ÷ predicted), where both are there. */
function residual(measured: number, predicted: number | null): number[] {
  return predicted !== null && predicted > 0 && measured > 0 ? [Math.log(measured / predicted)] : []
}
