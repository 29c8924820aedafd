import { unixMsOfId } from '../call/id.ts'
import type { Reader } from '../log/read/reader.ts'
import { readInstanceNames, readStoredCalls, type StoredRow } from '../log/read/stored-calls.ts'
import type { TimeRange } from '../log/read/traffic.ts'
import { CALL_COLUMNS, CANDIDATE_COLUMNS, hashColumns } from '../placement/features.ts'

/** One stored call fit to learn from. Durations in ms from arrival, tokens counted by the engine where it did; null is unknown. */
export interface LoggedCall extends Omit<StoredRow, 'candidates' | 'instanceId' | 'stream' | 'explored' | 'censored'> {
  /** Instance that answered, null for none. */
  readonly instance: string | null
  readonly stream: boolean
  readonly explored: boolean
  /** The answer was cut: it would have been at least as long as `outputTokens`. */
  readonly censored: boolean
  /** What the decision saw, bit for bit as served (I7); columns appended since hold their stated default. */
  readonly decision?: LoggedDecision
}

export interface LoggedDecision {
  readonly total: number
  /** The chosen first, the runner-up second. */
  readonly instances: readonly string[]
  /** One value per CALL_COLUMNS. */
  readonly callRow: Float32Array
  /** One row per instance, of CANDIDATE_COLUMNS. */
  readonly rows: Float32Array
  readonly costs: Float32Array
}

/** Why a row was left out, in words; the key under which it is counted. */
export type LeftOut =
  | 'no number or below zero'
  | 'clock jumped'
  | 'first token after the end'
  | 'longer than a day'
  | 'more tokens than allowed'
  | 'tokens faster than any engine'
  | 'impossible propensity'
  | 'doubled'
  | 'unknown feature list'

export interface Dataset {
  /** The calls in order of arrival. Reads page by page: what is not kept by the caller is not kept. */
  calls(): Iterable<LoggedCall>
  /** Rows that `calls` went past since the dataset was opened, those left out by reason, and those of another column list than today's that were mended. */
  readonly counts: DatasetCounts
}

export interface DatasetCounts {
  read: number
  used: number
  mended: number
  readonly leftOut: Partial<Record<LeftOut, number>>
}

export interface DatasetParts {
  readonly reader: Reader
  readonly range: TimeRange
  /** Also what each decision saw; costs twice the time. */
  readonly decisions: boolean
}

/** Nothing answers longer; the proxy's own limit is half an hour. */
const DAY_MS = 86_400_000
/** Beyond any model's context. */
const TOKENS_MAX = 10_000_000
/** Tokens of one answer per ms. Ten times what the fastest accelerators reach for one call, and above a virtual instance at factor 10. */
const TOKENS_PER_MS_MAX = 30
/** Stamps of id and row are taken from one clock within a call; a step of it between them is seen beyond this. */
const CLOCK_SLACK_MS = 2_000
/** Measured against rounding: a first token a hair after the end is the same instant. */
const END_SLACK_MS = 1
/** Rows among which a doubled one is looked for. */
const RECENT_ROWS = 4_096

/** Opens the calls of a range for learning. */
export function openDataset({ reader, range, decisions }: DatasetParts): Dataset {
  const names = reader.read(readInstanceNames)
  const counts: DatasetCounts = { read: 0, used: 0, mended: 0, leftOut: {} }
  return {
    counts,
    *calls() {
      const isDoubled = createDoubleFinder()
      for (const row of readStoredCalls(reader, { ...range, decisions })) {
        counts.read++
        const why = whyLeftOut(row) ?? (isDoubled(row) ? 'doubled' : undefined)
        const layout = row.candidates && layoutOf(row.candidates.featureHash)
        const reason = why ?? (row.candidates && !layout ? 'unknown feature list' : undefined)
        if (reason) {
          counts.leftOut[reason] = (counts.leftOut[reason] ?? 0) + 1
          continue
        }
        counts.used++
        if (layout && !layout.isToday) counts.mended++
        yield asCall(row, names, layout)
      }
    },
  }
}

function whyLeftOut(row: StoredRow): LeftOut | undefined {
  const times = [row.e2eMs, row.heldMs, row.placedMs, row.ttftMs ?? 0, row.tpotMs ?? 0]
  const sizes = [row.promptBytes, row.promptTokensEstimate, row.promptTokens ?? 0, row.outputTokens ?? 0, row.maxTokens ?? 0]
  if ([...times, ...sizes].some((value) => !(value >= 0 && value < Number.POSITIVE_INFINITY))) return 'no number or below zero'
  if (Math.abs(unixMsOfId(row.callId) - row.arrivedUnixMs) > CLOCK_SLACK_MS) return 'clock jumped'
  if (row.e2eMs > DAY_MS) return 'longer than a day'
  if ((row.ttftMs ?? 0) > row.e2eMs + END_SLACK_MS || row.heldMs > row.e2eMs + END_SLACK_MS) return 'first token after the end'
  const output = row.outputTokens ?? 0
  if (Math.max(output, row.promptTokens ?? 0) > TOKENS_MAX) return 'more tokens than allowed'
  if (row.maxTokens !== null && output > row.maxTokens * answersOf(row)) return 'more tokens than allowed'
  if (output > TOKENS_PER_MS_MAX * Math.max(1, row.e2eMs)) return 'tokens faster than any engine'
  if (!(row.propensity > 0 && row.propensity <= 1)) return 'impossible propensity'
  return undefined
}

const ANSWERS_AT = CALL_COLUMNS.findIndex((column) => column.name === 'answers')

/** Answers asked for at once; the limit holds for each. */
function answersOf({ candidates }: StoredRow): number {
  const answers = candidates?.features[ANSWERS_AT] ?? 1
  return Number.isNaN(answers) ? 1 : Math.max(1, answers)
}

/** The same measurement under two ids: fractions of a millisecond in four figures do not come twice by chance. */
function createDoubleFinder(): (row: StoredRow) => boolean {
  const recent = new Set<string>()
  const order: string[] = []
  return (row) => {
    if (row.outcome !== 'completed') return false
    const key = `${row.arrivedUnixMs} ${row.instanceId} ${row.promptBytes} ${row.placedMs} ${row.ttftMs} ${row.e2eMs}`
    if (recent.has(key)) return true
    recent.add(key)
    order.push(key)
    if (order.length > RECENT_ROWS) recent.delete(order.shift() as string)
    return false
  }
}

interface Layout {
  readonly callColumns: number
  readonly candidateColumns: number
  readonly isToday: boolean
}

const layouts = new Map<string, Layout>()

/**
 * How rows of this column list lie. Columns are only ever appended, so that every list there was is a beginning of today's two; undefined where it is none, e.g. of a newer
 * Phasewise.
 */
function layoutOf(featureHash: string): Layout | undefined {
  if (layouts.size === 0)
    for (let calls = CALL_COLUMNS.length; calls > 0; calls--)
      for (let candidates = CANDIDATE_COLUMNS.length; candidates > 0; candidates--)
        layouts.set(hashColumns(CALL_COLUMNS.slice(0, calls), CANDIDATE_COLUMNS.slice(0, candidates)), {
          callColumns: calls,
          candidateColumns: candidates,
          isToday: calls === CALL_COLUMNS.length && candidates === CANDIDATE_COLUMNS.length,
        })
  return layouts.get(featureHash)
}

function asCall(row: StoredRow, names: ReadonlyMap<number, string>, layout: Layout | undefined): LoggedCall {
  const { candidates, instanceId, stream, explored, censored, ...rest } = row
  const nameOf = (id: number): string => names.get(id) ?? `instance ${id}`
  return {
    ...rest,
    instance: instanceId === null ? null : nameOf(instanceId),
    stream: stream === 1,
    explored: explored === 1,
    censored: censored === 1 || row.outcome === 'client gone' || row.outcome === 'timed out',
    ...(candidates && layout
      ? {
          decision: {
            total: candidates.total,
            instances: candidates.instanceIds.map(nameOf),
            costs: candidates.costs,
            ...widen(candidates.features, candidates.instanceIds.length, layout),
          },
        }
      : {}),
  }
}

/** The rows with every column of today: appended ones at their default. */
function widen(features: Float32Array, count: number, layout: Layout): Pick<LoggedDecision, 'callRow' | 'rows'> {
  const width = CANDIDATE_COLUMNS.length
  if (layout.isToday)
    return {
      callRow: features.subarray(0, CALL_COLUMNS.length),
      rows: features.subarray(CALL_COLUMNS.length, CALL_COLUMNS.length + count * width),
    }
  const callRow = Float32Array.from(CALL_COLUMNS, (column, i) => (i < layout.callColumns ? (features[i] as number) : column.absent))
  const rows = new Float32Array(count * width)
  for (let k = 0; k < count; k++)
    for (let i = 0; i < width; i++) {
      const from = layout.callColumns + k * layout.candidateColumns + i
      rows[k * width + i] = i < layout.candidateColumns ? (features[from] as number) : (CANDIDATE_COLUMNS[i]?.absent ?? Number.NaN)
    }
  return { callRow, rows }
}
