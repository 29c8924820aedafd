import { seedOf } from '../rng.ts'

/**
 * The ONE column list, for serving and for training. The row a policy saw is logged as is and trained on as is (I7). Columns are
 * only ever appended; a row logged before a column existed takes that column's `absent` value. NaN in a row means unknown at
 * the time, which is not 0.
 */
export interface Column {
  readonly name: string
  /** As people read it on the Decision page. */
  readonly label: string
  readonly unit: 'count' | 'tokens' | 'bytes' | 'ratio' | 'ms' | 'flag' | 'factor'
  /** What rows older than the column are taken to hold. */
  readonly absent: number
}

const column = (name: string, label: string, unit: Column['unit'], absent = Number.NaN): Column => ({ name, label, unit, absent })

/** Known of the call before it is placed. */
export const CALL_COLUMNS: readonly Column[] = [
  column('promptTokens', 'Prompt tokens (estimate)', 'tokens'),
  column('promptBytes', 'Prompt bytes', 'bytes'),
  column('maxTokens', 'Limit asked for', 'tokens'),
  column('stream', 'Streamed', 'flag'),
  column('answers', 'Answers asked for', 'count'),
  column('turns', 'Turns', 'count'),
  column('tools', 'Tools', 'count'),
  column('stops', 'Stop sequences', 'count'),
  column('temperature', 'Temperature', 'factor'),
  column('jsonDemanded', 'JSON demanded', 'flag'),
  column('priority', 'Priority', 'factor'),
  column('prefixBlocks', 'Prefix blocks', 'count'),
  column('predictedOutputTokens', 'Predicted output', 'tokens'),
  column('poolCandidates', 'Candidates', 'count'),
  column('poolInFlight', 'In flight in the pool', 'count'),
  column('heldMs', 'Held', 'ms', 0),
  column('predictedOutputP50', 'Predicted output, median', 'tokens'),
  column('predictedOutputP90', 'Predicted output, 90 % below', 'tokens'),
  column('predictedOutputSpread', 'Predicted output, spread (ln)', 'factor'),
]

/** Known of one candidate instance before the call is placed. */
export const CANDIDATE_COLUMNS: readonly Column[] = [
  column('inFlight', 'In flight', 'count'),
  column('prefillTokensPending', 'Prefill pending', 'tokens'),
  column('promptTokensInFlight', 'Prompt tokens in flight', 'tokens'),
  column('outputTokensLeft', 'Output left (predicted)', 'tokens'),
  column('outputTokensDone', 'Output done', 'tokens'),
  column('speed', 'Speed', 'factor'),
  column('weight', 'Weight', 'factor'),
  column('slowStart', 'Slow start', 'ratio'),
  column('scrapeAge', 'Scrape age', 'ms'),
  column('waiting', 'Waiting', 'count'),
  column('running', 'Running', 'count'),
  column('kvUsage', 'KV use', 'ratio'),
  column('foreignInFlight', 'Foreign load', 'count'),
  column('prefixMatch', 'Prefix cached', 'ratio'),
  column('adapterLoaded', 'Adapter loaded', 'flag'),
  column('awaitingFirstToken', 'Awaiting first token', 'count'),
  column('waitingBelieved', 'Waiting (believed)', 'count'),
  column('kvTokensBelieved', 'KV in use (believed)', 'tokens'),
  column('kvTokensCapacity', 'KV capacity', 'tokens'),
]

/** Position of each candidate column in its row, by name: `AT.inFlight`. */
export const AT = Object.fromEntries(CANDIDATE_COLUMNS.map((c, i) => [c.name, i])) as Readonly<Record<CandidateColumnName, number>>

/** Position of each call column in its row, by name. */
export const CALL_AT = Object.fromEntries(CALL_COLUMNS.map((c, i) => [c.name, i])) as Readonly<Record<CallColumnName, number>>

export type CandidateColumnName =
  | 'inFlight'
  | 'prefillTokensPending'
  | 'promptTokensInFlight'
  | 'outputTokensLeft'
  | 'outputTokensDone'
  | 'speed'
  | 'weight'
  | 'slowStart'
  | 'scrapeAge'
  | 'waiting'
  | 'running'
  | 'kvUsage'
  | 'foreignInFlight'
  | 'prefixMatch'
  | 'adapterLoaded'
  | 'awaitingFirstToken'
  | 'waitingBelieved'
  | 'kvTokensBelieved'
  | 'kvTokensCapacity'

export type CallColumnName =
  | 'promptTokens'
  | 'promptBytes'
  | 'maxTokens'
  | 'stream'
  | 'answers'
  | 'turns'
  | 'tools'
  | 'stops'
  | 'temperature'
  | 'jsonDemanded'
  | 'priority'
  | 'prefixBlocks'
  | 'predictedOutputTokens'
  | 'poolCandidates'
  | 'poolInFlight'
  | 'heldMs'
  | 'predictedOutputP50'
  | 'predictedOutputP90'
  | 'predictedOutputSpread'

/** Names the column list: part of every model and of every logged row; a model with another hash is refused by name. */
export const FEATURE_HASH = hashColumns(CALL_COLUMNS, CANDIDATE_COLUMNS)

/** Eight hex digits of both lists in order. */
export function hashColumns(callColumns: readonly Column[], candidateColumns: readonly Column[]): string {
  const text = [...callColumns.map((c) => `call.${c.name}:${c.unit}`), ...candidateColumns.map((c) => `${c.name}:${c.unit}`)].join('|')
  return seedOf(text).toString(16).padStart(8, '0')
}

/** At most this many candidates are logged per call: the chosen, the runner-up and a sample of the rest (architecture.md). */
export const LOGGED_CANDIDATES_MAX = 16
