import { setImmediate } from 'node:timers/promises'
import { type DecisionCursor, type DecisionLine, readDecisions } from '../../plugin/log/read/decisions.ts'
import { formatId } from '../../plugin/log/read/ids.ts'
import type { Answer, Visit } from '../answer.ts'
import { csvLine } from '../csv.ts'
import type { PageParts } from '../routes.ts'
import { readFilter } from './decisions.ts'

/** Calls read at once: one short read transaction, about a millisecond, and little for the collector. */
const LINES_AT_ONCE = 60

/** One column of the export. */
const COLUMNS: readonly { readonly name: string; readonly of: (line: DecisionLine) => string | number | null }[] = [
  { name: 'call_id', of: ({ callId }) => formatId(callId) },
  { name: 'arrived_utc', of: ({ arrivedUnixMs }) => new Date(arrivedUnixMs).toISOString() },
  { name: 'pool', of: ({ pool }) => pool },
  { name: 'model', of: ({ model }) => model },
  { name: 'application', of: ({ application }) => application },
  { name: 'tenant', of: ({ tenant }) => tenant },
  { name: 'gateway', of: ({ gateway }) => gateway },
  { name: 'instance', of: ({ instance }) => instance },
  { name: 'policy', of: ({ policy }) => policy },
  { name: 'explored', of: ({ explored }) => explored },
  { name: 'outcome', of: ({ outcome }) => outcome },
  { name: 'error', of: ({ error }) => error },
  { name: 'attempts', of: ({ attempts }) => attempts },
  { name: 'held_ms', of: ({ heldMs }) => heldMs },
  { name: 'prompt_tokens', of: ({ promptTokens }) => promptTokens },
  { name: 'prompt_tokens_estimate', of: ({ promptTokensEstimate }) => promptTokensEstimate },
  { name: 'output_tokens', of: ({ outputTokens }) => outputTokens },
  { name: 'ttft_ms', of: ({ ttftMs }) => ttftMs },
  { name: 'e2e_ms', of: ({ e2eMs }) => e2eMs },
]

/** Every call that the filters of the address let through, newest first, written as it is read: its size needs no memory. */
export function exportDecisions(parts: PageParts, visit: Visit, kind: 'csv' | 'ndjson'): Answer {
  const { filter, problems } = readFilter(visit.query)
  if (problems.length > 0) return { kind: 'problem', status: 400, title: 'These filters cannot be read', text: problems.join(' ') }
  return {
    kind: 'download',
    name: `decisions.${kind}`,
    type: kind === 'csv' ? 'text/csv; charset=utf-8' : 'application/x-ndjson',
    chunks: chunks(parts, filter, kind),
  }
}

async function* chunks(
  { reader }: PageParts,
  filter: ReturnType<typeof readFilter>['filter'],
  kind: 'csv' | 'ndjson',
): AsyncGenerator<string> {
  if (kind === 'csv') yield csvLine(COLUMNS.map(({ name }) => name))
  for (let cursor: DecisionCursor | undefined = {}; cursor !== undefined; ) {
    const at: DecisionCursor = cursor
    const page = reader.read((query) => readDecisions(query, filter, at, LINES_AT_ONCE))
    yield page.lines.map(kind === 'csv' ? (line) => csvLine(COLUMNS.map(({ of }) => of(line))) : jsonLine).join('')
    cursor = page.older
    // Other pages come in between.
    await setImmediate()
  }
}

const jsonLine = (line: DecisionLine): string => `${JSON.stringify(Object.fromEntries(COLUMNS.map(({ name, of }) => [name, of(line)])))}\n`
