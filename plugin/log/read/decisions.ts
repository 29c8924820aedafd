import { firstIdAt } from './ids.ts'
import type { Query, SqlValue } from './reader.ts'

/** Which calls to list; all that is given must hold. */
export interface DecisionFilter {
  readonly pool?: string
  readonly instanceId?: number
  readonly policy?: string
  /** An outcome's kind, or 'failed' for anything but completed. */
  readonly outcome?: string
  readonly application?: string
  readonly gateway?: string
  readonly tenant?: string
  readonly model?: string
  readonly e2eMsMin?: number
  readonly ttftMsMin?: number
  /** As counted, or as estimated where nobody counted. */
  readonly promptTokensMin?: number
  /** Arrived at or after. */
  readonly sinceUnixMs?: number
  /** Arrived before. */
  readonly untilUnixMs?: number
}

/** Where a page goes on: calls older than an id (newest of them first), or the nearest ones newer than it. */
export interface DecisionCursor {
  readonly olderThan?: number
  readonly newerThan?: number
}

/** One call as a line of the list. */
export interface DecisionLine {
  readonly callId: number
  readonly arrivedUnixMs: number
  readonly pool: string
  readonly model: string
  readonly application: string
  readonly tenant: string
  readonly gateway: string
  readonly instanceId: number | null
  readonly instance: string | null
  readonly policy: string
  readonly explored: number
  readonly outcome: string
  readonly error: string | null
  readonly attempts: number
  readonly heldMs: number
  readonly promptTokens: number | null
  readonly promptTokensEstimate: number
  readonly outputTokens: number | null
  readonly ttftMs: number | null
  readonly e2eMs: number
}

export interface DecisionPage {
  /** Newest first. */
  readonly lines: readonly DecisionLine[]
  /** Go on from here for older calls; undefined when there are none. */
  readonly older: DecisionCursor | undefined
  readonly newer: DecisionCursor | undefined
  /** The search stopped at SCAN_MAX rows before the page was full: going on continues it. */
  readonly cutShort: boolean
}

/** Calls looked at for one page where no index serves the filter. Chosen: 50,000 take some 30 ms, and a "continue" link goes on. */
export const SCAN_MAX = 50_000

/** Lines of one page. */
export const PAGE_LINES = 50

interface Condition {
  readonly sql: string
  readonly values: readonly SqlValue[]
}

const LINE = `call_id AS callId, arrived_unix_ms AS arrivedUnixMs, call.pool AS pool, model, application, tenant, gateway,
  call.instance_id AS instanceId, instance.name AS instance, policy, explored, outcome, error, attempts, held_ms AS heldMs,
  prompt_tokens AS promptTokens, prompt_tokens_estimate AS promptTokensEstimate, output_tokens AS outputTokens, ttft_ms AS ttftMs,
  e2e_ms AS e2eMs`

/** One page of calls, of `linesMax` at most, paged by key: as quick on the last page as on the first. */
export function readDecisions(query: Query, filter: DecisionFilter, cursor: DecisionCursor = {}, linesMax = PAGE_LINES): DecisionPage {
  const up = cursor.newerThan !== undefined
  const { indexed, rest } = conditionsOf(filter)
  const from = Math.max(cursor.newerThan === undefined ? 0 : cursor.newerThan + 1, firstIdAt(filter.sinceUnixMs ?? 0))
  const until = filter.untilUnixMs === undefined ? Number.MAX_SAFE_INTEGER : firstIdAt(filter.untilUnixMs)
  const range = { from, to: Math.min(cursor.olderThan ?? Number.MAX_SAFE_INTEGER, until), up }
  const stop = rest.length === 0 ? undefined : scanStop(query, indexed, range)
  const within = stop === undefined ? range : up ? { ...range, to: stop } : { ...range, from: stop }
  const found = readLines(query, [...indexed, ...rest], { ...within, linesMax })
  const lines = found.slice(0, linesMax)
  const full = found.length > linesMax
  const on = full ? lines.at(-1)?.callId : up ? stop && stop - 1 : stop
  if (up) lines.reverse()
  const first = lines.at(0)?.callId
  const last = lines.at(-1)?.callId
  const back = up ? (last ?? range.from) : first === undefined ? range.to - 1 : first
  const cutShort = !full && stop !== undefined
  if (up) return { lines, newer: on === undefined ? undefined : { newerThan: on }, older: { olderThan: back }, cutShort }
  const newer = cursor.olderThan === undefined ? undefined : { newerThan: back }
  return { lines, older: on === undefined ? undefined : { olderThan: on }, newer, cutShort }
}

/** The call is in the log. */
export function hasCall(query: Query, callId: number): boolean {
  return query.get('SELECT 1 FROM call WHERE call_id = ?', [callId]) !== undefined
}

/** What the filters can be set to. */
export interface DecisionChoices {
  readonly instances: readonly { readonly instanceId: number; readonly pool: string; readonly name: string; readonly url: string }[]
  readonly applications: readonly string[]
  readonly policies: readonly string[]
}

/** Instances and applications offered at most; beyond, a filter still works by its address. */
const CHOICES_MAX = 500

/** Policies are looked for in the rollups of this last time: recent ones, and quick to find. */
const POLICIES_WITHIN_MS = 86_400_000

/** Reads the choices; each by its key, none by looking at calls. */
export function readChoices(query: Query, nowUnixMs: number): DecisionChoices {
  const applications = query.all<{ name: string | null }>(
    `WITH RECURSIVE each (name) AS (SELECT min(application) FROM call UNION ALL
       SELECT (SELECT min(application) FROM call WHERE application > each.name) FROM each WHERE each.name IS NOT NULL)
     SELECT name FROM each LIMIT ${CHOICES_MAX}`,
  )
  const policies = query.all<{ policy: string }>('SELECT DISTINCT policy FROM rollup WHERE minute_unix_ms >= ? ORDER BY policy', [
    nowUnixMs - POLICIES_WITHIN_MS,
  ])
  return {
    instances: query.all(`SELECT instance_id AS instanceId, pool, name, url FROM instance ORDER BY pool, name, url LIMIT ${CHOICES_MAX}`),
    applications: applications.flatMap(({ name }) => (name === null ? [] : [name])),
    policies: policies.map((row) => row.policy),
  }
}

/** The one condition an index serves, the rest apart (a unary plus keeps SQLite from choosing another index for them). */
function conditionsOf(filter: DecisionFilter): { readonly indexed: readonly Condition[]; readonly rest: readonly Condition[] } {
  const candidates: Condition[] = []
  const { outcome } = filter
  // The index is partial: its own condition must stand there as it is.
  if (outcome !== undefined && outcome !== 'completed' && outcome !== 'failed')
    candidates.push({ sql: `outcome <> 'completed' AND outcome = ?`, values: [outcome] })
  if (filter.instanceId !== undefined) candidates.push({ sql: 'call.instance_id = ?', values: [filter.instanceId] })
  if (filter.application !== undefined) candidates.push({ sql: 'application = ?', values: [filter.application] })
  const [best, ...others] = candidates
  const rest = others.map(({ sql, values }) => ({ sql: `+${sql}`, values }))
  const add = (sql: string, value: SqlValue | undefined): void => {
    if (value !== undefined) rest.push({ sql, values: [value] })
  }
  if (outcome === 'completed') add('+outcome = ?', outcome)
  // Of several outcomes the index gives no order by time.
  if (outcome === 'failed') add('+outcome <> ?', 'completed')
  add('call.pool = ?', filter.pool)
  add('policy = ?', filter.policy)
  add('gateway = ?', filter.gateway)
  add('tenant = ?', filter.tenant)
  add('model = ?', filter.model)
  add('e2e_ms >= ?', filter.e2eMsMin)
  add('ttft_ms >= ?', filter.ttftMsMin)
  add('coalesce(prompt_tokens, prompt_tokens_estimate) >= ?', filter.promptTokensMin)
  return { indexed: best === undefined ? [] : [best], rest }
}

interface Range {
  readonly from: number
  readonly to: number
  readonly up: boolean
}

/** The id at which SCAN_MAX calls have been looked at, undefined when the range holds fewer. */
function scanStop(query: Query, indexed: readonly Condition[], range: Range): number | undefined {
  const { where, values } = whereOf(indexed, range)
  const sql = `SELECT call_id AS id FROM call WHERE ${where} ORDER BY call_id ${range.up ? 'ASC' : 'DESC'} LIMIT 1 OFFSET ${SCAN_MAX}`
  return query.get<{ id: number }>(sql, values)?.id
}

function readLines(query: Query, conditions: readonly Condition[], range: Range & { readonly linesMax: number }): DecisionLine[] {
  const { where, values } = whereOf(conditions, range)
  return query.all<DecisionLine>(
    `SELECT ${LINE} FROM call LEFT JOIN instance ON instance.instance_id = call.instance_id
     WHERE ${where} ORDER BY call_id ${range.up ? 'ASC' : 'DESC'} LIMIT ?`,
    [...values, range.linesMax + 1],
  )
}

function whereOf(conditions: readonly Condition[], range: Range): { readonly where: string; readonly values: SqlValue[] } {
  const where = [...conditions.map(({ sql }) => sql), 'call_id >= ?', 'call_id < ?'].join(' AND ')
  return { where, values: [...conditions.flatMap(({ values }) => values), range.from, range.to] }
}
