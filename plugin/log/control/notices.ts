import type { Clock } from '../../clock.ts'
import type { Door } from './door.ts'

/** What everybody should see on Overview until somebody closes it. */
export interface Notice {
  readonly noticeId: number
  readonly atUnixMs: number
  readonly tone: 'good' | 'warn' | 'bad'
  readonly text: string
  /** Page that says more, e.g. /models; null where none does. */
  readonly href: string | null
}

/** What a notice says; the time is the writer's. */
export type NoticeWords = Pick<Notice, 'tone' | 'text'> & { readonly href?: string }

export interface Notices {
  append(notice: NoticeWords): number
  /** Those not closed, newest first, at most NOTICES_MAX. */
  open(): Notice[]
  /** False when it was closed before. */
  close(noticeId: number, by: string): boolean
}

/** A page shows no more. */
const NOTICES_MAX = 20

/** Adds a notice, within whatever transaction is open. */
export function addNotice(door: Door, { tone, text, href }: NoticeWords, nowUnixMs: number): number {
  return door.run('INSERT INTO notice (at_unix_ms, tone, text, href) VALUES (?, ?, ?, ?)', [nowUnixMs, tone, text, href ?? null]).lastId
}

/** Notices as stored behind `door`. */
export function createNotices(door: Door, clock: Clock): Notices {
  return {
    append: (notice) => addNotice(door, notice, clock.nowUnixMs()),
    open: () =>
      door.all<Notice>(
        `SELECT notice_id AS noticeId, at_unix_ms AS atUnixMs, tone, text, href FROM notice WHERE closed_unix_ms IS NULL
         ORDER BY notice_id DESC LIMIT ${NOTICES_MAX}`,
      ),
    close(noticeId, by) {
      const sql = 'UPDATE notice SET closed_unix_ms = ?, closed_by = ? WHERE notice_id = ? AND closed_unix_ms IS NULL'
      return door.run(sql, [clock.nowUnixMs(), by, noticeId]).changes === 1
    },
  }
}
