import {
  type DecisionChoices,
  type DecisionCursor,
  type DecisionFilter,
  type DecisionLine,
  type DecisionPage,
  readChoices,
  readDecisions,
  SCAN_MAX,
} from '../../plugin/log/read/decisions.ts'
import { formatId, parseId } from '../../plugin/log/read/ids.ts'
import type { Answer, Model, Visit } from '../answer.ts'
import { formatCount, formatInstant, formatSeconds } from '../format.ts'
import type { PageParts } from '../routes.ts'
import { parseInstant } from '../zone.ts'
import { outcomeTone } from './tone.ts'

const OUTCOMES = ['failed', 'completed', 'instance error', 'timed out', 'client gone'] as const
const GATEWAYS = ['openai', 'envoy', 'litellm', 'api'] as const

/** The calls, newest first, narrowed by filters that live in the address. */
export function decisionsPage({ reader }: PageParts, visit: Visit): Answer {
  const { query } = visit
  const wanted = query.call === undefined ? undefined : parseId(query.call.trim())
  if (wanted !== undefined) return { kind: 'see other', to: `/decisions/${formatId(wanted)}` }
  const { filter, problems } = readFilter(query)
  if (query.call !== undefined) problems.push(`“${query.call}” is no call id: they have eleven letters and digits, as in the list.`)
  const { page, choices } = reader.read((look) => ({
    page: readDecisions(look, filter, readCursor(query)),
    choices: readChoices(look, visit.nowUnixMs),
  }))
  const filtered = Object.keys(filter).length > 0
  return {
    kind: 'page',
    view: 'decisions',
    title: 'Decisions',
    model: {
      problems,
      fields: fieldsOf(query, choices),
      filtered,
      lines: page.lines.map(lineModel),
      manyPools: new Set(choices.instances.map((one) => one.pool)).size > 1,
      ...paging(page, query),
      first: query.before === undefined && query.after === undefined,
      newestHref: hrefWith(query, {}),
      cutShort: page.cutShort,
      csvHref: hrefWith(query, {}, '/decisions.csv'),
      ndjsonHref: hrefWith(query, {}, '/decisions.ndjson'),
      labHref:
        query.pool !== undefined && query.since !== undefined && query.until !== undefined
          ? `/lab?${new URLSearchParams({ source: 'stored', pool: query.pool, since: query.since, until: query.until })}`
          : undefined,
      scanned: formatCount(SCAN_MAX),
    },
  }
}

/** The query's filter; what cannot be read is left out and told in `problems`. */
export function readFilter(query: Visit['query']): { filter: DecisionFilter; problems: string[] } {
  const problems: string[] = []
  const filter: { -readonly [Key in keyof DecisionFilter]: DecisionFilter[Key] } = {}
  const number = (name: string, what: string, scale: number): number | undefined => {
    const text = query[name]
    if (text === undefined) return undefined
    const value = Number(text.replace(',', '.')) * scale
    if (value >= 0 && Number.isFinite(value)) return value
    problems.push(`${what} “${text}” is no number.`)
    return undefined
  }
  const time = (name: string, what: string): number | undefined => {
    const text = query[name]
    const value = text === undefined ? undefined : parseInstant(text)
    if (text !== undefined && value === undefined) problems.push(`${what} “${text}” is no time: write it like 2026-11-22T14:03.`)
    return value
  }
  for (const name of ['pool', 'policy', 'outcome', 'application', 'tenant', 'model', 'gateway'] as const) {
    const value = query[name]
    if (value !== undefined) filter[name] = value
  }
  const set = <Key extends 'instanceId' | 'e2eMsMin' | 'ttftMsMin' | 'promptTokensMin' | 'sinceUnixMs' | 'untilUnixMs'>(
    key: Key,
    value: number | undefined,
  ): void => {
    if (value !== undefined) filter[key] = value
  }
  set('instanceId', number('instance', 'Instance', 1))
  set('e2eMsMin', number('e2e', 'E2E', 1000))
  set('ttftMsMin', number('ttft', 'TTFT', 1000))
  set('promptTokensMin', number('tokens', 'Prompt tokens', 1))
  set('sinceUnixMs', time('since', 'Since'))
  set('untilUnixMs', time('until', 'Until'))
  return { filter, problems }
}

function readCursor(query: Visit['query']): DecisionCursor {
  const before = query.before === undefined ? undefined : parseId(query.before)
  const after = query.after === undefined ? undefined : parseId(query.after)
  if (before !== undefined) return { olderThan: before }
  return after === undefined ? {} : { newerThan: after }
}

/** Names of the filters in the address. */
const FILTERS = [
  'pool',
  'instance',
  'policy',
  'outcome',
  'application',
  'tenant',
  'model',
  'gateway',
  'e2e',
  'ttft',
  'tokens',
  'since',
  'until',
] as const

/** The list's address with the query's filters and this cursor. */
function hrefWith(query: Visit['query'], cursor: Readonly<Record<string, string>>, path = '/decisions'): string {
  const kept = FILTERS.flatMap((name): [string, string][] => (query[name] === undefined ? [] : [[name, query[name]]]))
  const text = new URLSearchParams([...kept, ...Object.entries(cursor)]).toString()
  return text === '' ? path : `${path}?${text}`
}

function paging(page: DecisionPage, query: Visit['query']): Model {
  const href = (cursor: DecisionCursor | undefined): string | undefined => {
    if (cursor?.olderThan !== undefined) return hrefWith(query, { before: formatId(cursor.olderThan) })
    return cursor?.newerThan === undefined ? undefined : hrefWith(query, { after: formatId(cursor.newerThan) })
  }
  const up = query.after !== undefined && query.before === undefined
  return {
    olderHref: href(page.older),
    newerHref: href(page.newer),
    continueHref: page.cutShort ? href(up ? page.newer : page.older) : undefined,
  }
}

interface Option {
  readonly value: string
  readonly text: string
  readonly selected: boolean
}

function fieldsOf(query: Visit['query'], choices: DecisionChoices): Model {
  const options = (name: string, values: readonly { readonly value: string; readonly text: string }[]): Option[] => {
    const set = query[name]
    // A value from an old address stays in its field, so that the filter in force is always visible.
    const all = set === undefined || values.some(({ value }) => value === set) ? values : [...values, { value: set, text: set }]
    return all.map((one) => ({ ...one, selected: one.value === set }))
  }
  const plain = (values: readonly string[]) => values.map((value) => ({ value, text: value }))
  const doubled = (name: string, pool: string): boolean =>
    choices.instances.filter((one) => one.name === name && one.pool === pool).length > 1
  const pools = [...new Set(choices.instances.map((one) => one.pool))]
  return {
    pool: options('pool', plain(pools)),
    instance: options(
      'instance',
      choices.instances.map(({ instanceId, pool, name, url }) => ({
        value: String(instanceId),
        text: `${pools.length > 1 ? `${pool} / ` : ''}${name}${doubled(name, pool) ? ` (${url})` : ''}`,
      })),
    ),
    policy: options('policy', plain(choices.policies)),
    application: options('application', plain(choices.applications)),
    outcome: options(
      'outcome',
      OUTCOMES.map((value) => ({ value, text: value === 'failed' ? 'anything but completed' : value })),
    ),
    gateway: options('gateway', plain(GATEWAYS)),
    tenant: query.tenant ?? '',
    model: query.model ?? '',
    e2e: query.e2e ?? '',
    ttft: query.ttft ?? '',
    tokens: query.tokens ?? '',
    since: query.since ?? '',
    until: query.until ?? '',
    call: query.call ?? '',
  }
}

function lineModel(line: DecisionLine): Model {
  const prompt = line.promptTokens ?? line.promptTokensEstimate
  return {
    at: formatInstant(line.arrivedUnixMs),
    id: formatId(line.callId),
    pool: line.pool,
    application: line.application,
    instance: line.instance ?? undefined,
    policy: line.policy,
    explored: line.explored === 1,
    outcome: { text: line.outcome, tone: outcomeTone(line.outcome), title: line.error ?? '' },
    retried: line.attempts > 1 ? `${line.attempts - 1} ${line.attempts === 2 ? 'retry' : 'retries'}` : undefined,
    prompt: `${line.promptTokens === null ? '~' : ''}${formatCount(Math.round(prompt))}`,
    output: formatCount(line.outputTokens) ?? '–',
    held: line.heldMs > 0 ? formatSeconds(line.heldMs) : '–',
    ttft: formatSeconds(line.ttftMs) ?? '–',
    e2e: formatSeconds(line.e2eMs),
  }
}
