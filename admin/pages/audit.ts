import type { Audit, AuditEntry, AuditFilter } from '../../plugin/log/control/audit.ts'
import type { Answer, Model, Visit } from '../answer.ts'
import { csvLine } from '../csv.ts'
import { formatInstant } from '../format.ts'
import type { PageParts } from '../routes.ts'
import { parseInstant } from '../zone.ts'

const PAGE_ROWS = 50
const EXPORT_ROWS = 500
const FILTERS = ['who', 'action', 'text', 'since', 'until'] as const

/** Every change that people made, newest first: before and after, who, from where. */
export function auditPage({ control }: PageParts, visit: Visit): Answer {
  const { query } = visit
  const { filter, problems } = readFilter(query)
  const before = Number(query.before)
  const rows = control.audit.list({ ...filter, limit: PAGE_ROWS + 1, ...(before > 0 ? { beforeId: before } : {}) })
  const shown = rows.slice(0, PAGE_ROWS)
  const choices = control.audit.choices()
  const last = rows.length > PAGE_ROWS ? shown.at(-1) : undefined
  return {
    kind: 'page',
    view: 'audit',
    title: 'Audit',
    model: {
      problems,
      fields: {
        who: options(query.who, choices.who),
        action: options(query.action, choices.actions),
        text: query.text ?? '',
        since: query.since ?? '',
        until: query.until ?? '',
      },
      filtered: Object.keys(filter).length > 0,
      lines: shown.map(lineModel),
      exports: (['csv', 'ndjson'] as const).map((format) => ({
        name: format === 'csv' ? 'CSV' : 'NDJSON',
        href: hrefWith('/audit/export', query, { format }),
      })),
      first: !(before > 0),
      newestHref: hrefWith('/audit', query, {}),
      olderHref: last && hrefWith('/audit', query, { before: String(last.auditId) }),
    },
  }
}

/** The same entries as a file, as many as there are. */
export function exportAudit({ control }: PageParts, visit: Visit): Answer {
  const { filter, problems } = readFilter(visit.query)
  if (problems.length > 0) return { kind: 'problem', status: 400, title: 'This filter cannot be read', text: problems.join(' ') }
  const isCsv = visit.query.format !== 'ndjson'
  const day = new Date(visit.nowUnixMs).toISOString().slice(0, 10)
  return {
    kind: 'download',
    name: `phasewise-audit-${day}.${isCsv ? 'csv' : 'ndjson'}`,
    type: isCsv ? 'text/csv; charset=utf-8' : 'application/x-ndjson',
    chunks: exported(control.audit, filter, isCsv),
  }
}

function* exported(audit: Audit, filter: AuditFilter, isCsv: boolean): Generator<string> {
  if (isCsv) yield csvLine(['id', 'time', 'who', 'address', 'action', 'subject', 'before', 'after'])
  let beforeId = Number.MAX_SAFE_INTEGER
  for (;;) {
    const rows = audit.list({ ...filter, beforeId, limit: EXPORT_ROWS })
    const last = rows.at(-1)
    if (last === undefined) return
    yield rows.map((row) => (isCsv ? csvOf(row) : `${JSON.stringify({ ...row, time: new Date(row.atUnixMs).toISOString() })}\n`)).join('')
    beforeId = last.auditId
  }
}

const csvOf = ({ auditId, atUnixMs, who, address, action, subject, before, after }: AuditEntry): string =>
  csvLine([auditId, new Date(atUnixMs).toISOString(), who, address, action, subject, before, after])

/** The query's filter; what cannot be read is left out and told. */
function readFilter(query: Visit['query']): { readonly filter: AuditFilter; readonly problems: readonly string[] } {
  const problems: string[] = []
  const time = (name: 'since' | 'until'): number | undefined => {
    const text = query[name]
    const value = text === undefined ? undefined : parseInstant(text)
    if (text !== undefined && value === undefined)
      problems.push(`${name === 'since' ? 'Since' : 'Until'} “${text}” is no time: write it like 2026-11-22T14:03.`)
    return value
  }
  const [sinceUnixMs, untilUnixMs] = [time('since'), time('until')]
  const filter = {
    ...(query.who === undefined ? {} : { who: query.who }),
    ...(query.action === undefined ? {} : { action: query.action }),
    ...(query.text === undefined ? {} : { text: query.text }),
    ...(sinceUnixMs === undefined ? {} : { sinceUnixMs }),
    ...(untilUnixMs === undefined ? {} : { untilUnixMs }),
  }
  return { filter, problems }
}

function hrefWith(path: string, query: Visit['query'], more: Readonly<Record<string, string>>): string {
  const kept = FILTERS.flatMap((name): [string, string][] => (query[name] === undefined ? [] : [[name, query[name]]]))
  const text = new URLSearchParams([...kept, ...Object.entries(more)]).toString()
  return text === '' ? path : `${path}?${text}`
}

function options(set: string | undefined, values: readonly string[]): readonly Model[] {
  const all = set === undefined || values.includes(set) ? values : [...values, set]
  return all.map((value) => ({ value, selected: value === set }))
}

function lineModel(entry: AuditEntry): Model {
  const { who, address, action, subject, before, after } = entry
  return {
    at: formatInstant(entry.atUnixMs),
    who,
    address,
    action,
    subject,
    before: before ?? undefined,
    after: after ?? undefined,
    both: before !== null && after !== null,
  }
}
