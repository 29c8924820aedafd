import { CALL_COLUMNS, CANDIDATE_COLUMNS } from '../../plugin/log/read/columns.ts'
import { readRouterNow } from '../../plugin/log/read/now.ts'
import type { Answer, Model, Visit } from '../answer.ts'
import { formatColumn } from '../column-text.ts'
import { formatCount, formatNumber, formatPercent, formatSeconds, known } from '../format.ts'
import type { PageParts } from '../routes.ts'

/** A long prompt with its tools is a few hundred kB; the form is as long again where every letter needs an escape. */
export const TRY_FORM_BYTES_MAX = 4 * 1024 * 1024

/** The router answers from memory; a fleet of hundreds takes a few ms. */
const WITHIN_MS = 5_000

const APPLICATION = /^[^\p{Cc}]{1,128}$/u

/** What the router says of a dry run; its own schema is in the router, so every value is looked at before it is shown. */
interface Tried {
  readonly instance?: { readonly name?: unknown; readonly pool?: unknown }
  readonly fallbacks?: readonly { readonly name?: unknown }[]
  readonly policy?: unknown
  readonly reason?: unknown
  readonly propensity?: unknown
  readonly predicted?: Readonly<Record<string, unknown>>
  readonly weighed?: {
    readonly call?: Readonly<Record<string, number | null>>
    readonly candidates?: readonly Weighed[]
  }
}

interface Weighed {
  readonly instance: string
  readonly cost: number | null
  readonly features: Readonly<Record<string, number | null>>
}

/** The form alone. */
export function tryPage(parts: PageParts, visit: Visit): Answer {
  return page(parts, visit, { form: {} })
}

/** Asks the router where it would place this call now. Nothing is sent to any instance, and nothing is stored, here or there. */
export async function tryCall(parts: PageParts, visit: Visit): Promise<Answer> {
  const { form } = visit
  const read = readBody(form)
  if (typeof read === 'string') return page(parts, visit, { form, problem: read })
  const { application = '' } = form
  if (application !== '' && !APPLICATION.test(application))
    return page(parts, visit, { form, problem: 'An application is named by up to 128 characters that can be printed.' })
  const answer = await parts.line.ask({
    method: 'POST',
    path: '/v1/placements',
    body: { dryRun: true, body: read, ...(application === '' ? {} : { hints: { application } }) },
    withinMs: WITHIN_MS,
  })
  if (answer.kind === 'unreachable') return page(parts, visit, { form, problem: `The router cannot be asked: ${answer.why}.`, status: 503 })
  if (answer.status !== 200) return page(parts, visit, { form, problem: `The router refuses: ${wordsOf(answer.body)}` })
  return page(parts, visit, { form, tried: answer.body as Tried })
}

/** The body to place: the text as it is where it is a request body, else a chat of one message. In words what is wrong. */
function readBody(form: Visit['form']): Readonly<Record<string, unknown>> | string {
  const text = form.text ?? ''
  if (text.trim() === '') return 'Paste a prompt, or the body of a request.'
  const model = form.model === undefined ? {} : { model: form.model }
  if (text.trimStart().startsWith('{')) {
    try {
      const body = JSON.parse(text) as Readonly<Record<string, unknown>>
      if ('messages' in body || 'prompt' in body || 'input' in body) return { ...model, ...body }
      return 'This is JSON without messages, prompt or input: it is no request body. To place it as a prompt, put a word before it.'
    } catch (cause) {
      if (!(cause instanceof SyntaxError)) throw cause
      return 'This begins like a request body, but is not valid JSON.'
    }
  }
  if (form.model === undefined) return 'Choose a model: a prompt alone names none.'
  const maxTokens = Number(form.maxTokens ?? '')
  const limit = maxTokens > 0 ? { max_tokens: Math.floor(maxTokens) } : {}
  return { ...model, messages: [{ role: 'user', content: text }], ...limit }
}

function wordsOf(body: unknown): string {
  const { detail, title } = (typeof body === 'object' && body !== null ? body : {}) as { detail?: unknown; title?: unknown }
  return String(detail ?? title ?? 'it gives no reason.')
}

function page(
  { reader }: PageParts,
  _visit: Visit,
  given: { readonly form: Visit['form']; readonly problem?: string; readonly tried?: Tried; readonly status?: number },
): Answer {
  const { form, problem, tried, status = problem === undefined ? 200 : 422 } = given
  const models = [...new Set(reader.read(readRouterNow)?.pools.flatMap((pool) => pool.models) ?? [])]
  return {
    kind: 'page',
    view: 'try-it',
    title: 'Try it',
    status,
    model: {
      notice: undefined,
      problem,
      text: form.text ?? '',
      application: form.application ?? '',
      maxTokens: form.maxTokens ?? '',
      models: models.map((name) => ({ name, selected: name === form.model })),
      only: models.length === 1 && form.model === undefined,
      result: tried && resultOf(tried),
    },
  }
}

const COST_BAR_PX = 44

function resultOf(tried: Tried): Model {
  const { predicted = {}, weighed = {} } = tried
  const candidates = weighed.candidates ?? []
  const costs = candidates.map((one) => known(one.cost))
  const greatest = Math.max(0, ...costs.map((cost) => Math.abs(cost ?? 0)))
  const shown = CANDIDATE_COLUMNS.filter(({ name }) => candidates.some((one) => known(one.features[name]) !== undefined))
  const unknown = CANDIDATE_COLUMNS.filter((column) => !shown.includes(column)).map(({ label }) => label.toLowerCase())
  const number = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined)
  return {
    instance: String(tried.instance?.name ?? ''),
    pool: String(tried.instance?.pool ?? ''),
    policy: String(tried.policy ?? ''),
    reason: String(tried.reason ?? ''),
    propensity: formatPercent(number(tried.propensity)),
    fallbacks: (tried.fallbacks ?? []).map((one) => String(one.name ?? '')).join(', '),
    predictions: [
      { name: 'Prompt tokens', value: formatCount(Math.round(number(predicted.promptTokens) ?? Number.NaN)) },
      { name: 'Output tokens', value: formatCount(Math.round(number(predicted.outputTokens) ?? Number.NaN)) },
      { name: 'TTFT, s', value: formatSeconds(number(predicted.ttftMs)) },
      { name: 'E2E, s', value: formatSeconds(number(predicted.e2eMs)) },
    ],
    columns: shown.map(({ label }) => ({ label })),
    barMax: COST_BAR_PX,
    candidates: candidates
      .map((one, i) => ({
        instance: one.instance,
        chosen: i === 0,
        tag: i === 0 ? 'chosen' : i === 1 ? 'runner-up' : undefined,
        sort: costs[i] ?? Number.POSITIVE_INFINITY,
        cost: formatNumber(one.cost),
        bar: costs[i] === undefined || greatest === 0 ? 0 : Math.max(1, Math.round((Math.abs(costs[i]) / greatest) * COST_BAR_PX)),
        features: shown.map((column) => ({ text: formatColumn(column, one.features[column.name] ?? Number.NaN) })),
      }))
      .sort((a, b) => (a.sort === b.sort ? Number(b.chosen) - Number(a.chosen) : a.sort - b.sort)),
    unknown: unknown.length === 0 ? undefined : `Unknown for every candidate: ${unknown.join(', ')}.`,
    call: CALL_COLUMNS.map((column) => ({ label: column.label, text: formatColumn(column, weighed.call?.[column.name] ?? Number.NaN) })),
  }
}
