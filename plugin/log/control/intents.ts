import type { Clock } from '../../clock.ts'
import type { Intent } from '../rows.ts'
import { carryOut } from './consequences.ts'
import type { Door } from './door.ts'

export type IntentState = 'asked' | 'done' | 'refused'

/** An intent as stored: what was asked, and what came of it. */
export interface IntentRecord extends Intent {
  readonly askedUnixMs: number
  readonly state: IntentState
  /** In words, from whoever obeyed or refused. */
  readonly answer: string | null
  readonly doneUnixMs: number | null
}

/** Adds an intent, within whatever transaction is open. */
export function addIntent(door: Door, { kind, subject, askedBy }: Pick<Intent, 'kind' | 'subject' | 'askedBy'>, nowUnixMs: number): number {
  const sql = 'INSERT INTO intent (kind, subject, asked_by, asked_unix_ms) VALUES (?, ?, ?, ?)'
  return door.run(sql, [kind, JSON.stringify(subject ?? null), askedBy, nowUnixMs]).lastId
}

/** Where pages go on: newest first, `limit` rows (at most 500) with ids below `beforeId`. */
export interface Page {
  readonly beforeId?: number
  readonly limit: number
}

export interface Intents {
  /** Asks; `subject` is kept as JSON, for drain and undrain `{ pool, instance }`. Gives the new intent's id. */
  append(intent: Pick<Intent, 'kind' | 'subject' | 'askedBy'>): number
  get(intentId: number): IntentRecord | undefined
  /** Newest first. */
  list(page: Page & { readonly state?: IntentState }): IntentRecord[]
  /** Oldest first, those nobody has answered; only of these kinds where given. */
  open(kinds?: readonly string[]): Intent[]
  /** Marks an open intent done or refused; false when it was answered before. What follows from it (`carryOut`) is in the same transaction. */
  answer(intentId: number, answer: { readonly state: 'done' | 'refused'; readonly text: string }): boolean
}

export interface DrainedInstance {
  readonly pool: string
  readonly instance: string
  readonly by: string
  readonly sinceUnixMs: number
}

/** Longest page anybody gets: a page of 500 renders in a few ms, and no address can ask for the whole table. */
const PAGE_MAX = 500

/** Open intents taken at once; people ask for a few an hour. */
const OPEN_MAX = 100

/** Rows of a page, bounded. */
export const pageLimit = (limit: number): number => Math.max(1, Math.min(PAGE_MAX, Math.floor(limit)))

interface StoredIntent extends Omit<IntentRecord, 'subject'> {
  readonly subject: string
}

const INTENT = `intent_id AS intentId, kind, subject, asked_by AS askedBy, asked_unix_ms AS askedUnixMs, state, answer,
  done_unix_ms AS doneUnixMs`

/** Intents as stored behind `door`. */
export function createIntents(door: Door, clock: Clock): Intents {
  const get = (intentId: number): IntentRecord | undefined => {
    const stored = door.get<StoredIntent>(`SELECT ${INTENT} FROM intent WHERE intent_id = ?`, [intentId])
    return stored === undefined ? undefined : parsed(stored)
  }
  return {
    append: (intent) => addIntent(door, intent, clock.nowUnixMs()),
    get,
    list({ beforeId, limit, state }) {
      const sql = `SELECT ${INTENT} FROM intent WHERE intent_id < ? AND (? IS NULL OR state = ?) ORDER BY intent_id DESC LIMIT ?`
      return door.all<StoredIntent>(sql, [beforeId ?? Number.MAX_SAFE_INTEGER, state ?? null, state ?? null, pageLimit(limit)]).map(parsed)
    },
    open(kinds) {
      const sql = `SELECT ${INTENT} FROM intent WHERE state = 'asked' ORDER BY intent_id LIMIT ${OPEN_MAX}`
      return door
        .all<StoredIntent>(sql)
        .filter((intent) => kinds?.includes(intent.kind) ?? true)
        .map(parsed)
    },
    answer(intentId, { state, text }) {
      return door.together(() => {
        const now = clock.nowUnixMs()
        const sql = `UPDATE intent SET state = ?, answer = ?, done_unix_ms = ? WHERE intent_id = ? AND state = 'asked'`
        if (door.run(sql, [state, text, now, intentId]).changes === 0) return false
        const intent = get(intentId)
        if (intent !== undefined) carryOut(door, { intent, state, text, nowUnixMs: now })
        return true
      })
    },
  }
}

/** Instances drained by intent, in order of pool and name. */
export function listDrained(door: Door): DrainedInstance[] {
  return door.all<DrainedInstance>('SELECT pool, instance, by, since_unix_ms AS sinceUnixMs FROM drained ORDER BY pool, instance')
}

function parsed(stored: StoredIntent): IntentRecord {
  return { ...stored, subject: JSON.parse(stored.subject) as unknown }
}
