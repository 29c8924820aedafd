import type { Caller } from './call.ts'

/** Header names in lower case; Node joins repeated ones or gives a list. */
export type Headers = Readonly<Record<string, string | readonly string[] | undefined>>

/** Names become rows and metric labels: longer ones are cut. */
export const CALLER_NAME_MAX_CHARS = 128

/** Beyond this a priority only tells that the caller shouts. */
export const PRIORITY_MAX = 1_000_000

/** Who calls, from the configured name of the caller's key (if any) and the hint headers; a hint that makes no sense counts as not sent. */
export function readCaller(headers: Headers, keyName: string | undefined): Caller {
  const application = keyName ?? nameIn(headers, 'x-phasewise-application') ?? 'unknown'
  const task = nameIn(headers, 'x-phasewise-task')
  const sloTtftMs = positiveIn(headers, 'x-slo-ttft-ms')
  const sloTpotMs = positiveIn(headers, 'x-slo-tpot-ms')
  return {
    application,
    tenant: nameIn(headers, 'x-phasewise-tenant') ?? nameIn(headers, 'x-llm-d-inference-fairness-id') ?? application,
    priority: priorityIn(headers, 'x-phasewise-priority') ?? priorityIn(headers, 'x-llm-d-inference-objective') ?? 0,
    ...(task === undefined ? {} : { task }),
    ...(sloTtftMs === undefined ? {} : { sloTtftMs }),
    ...(sloTpotMs === undefined ? {} : { sloTpotMs }),
  }
}

function headerIn(headers: Headers, name: string): string | undefined {
  const value = headers[name]
  return typeof value === 'string' ? value : value?.[0]
}

function nameIn(headers: Headers, name: string): string | undefined {
  const value = headerIn(headers, name)
  if (value === undefined) return undefined
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not reach a log or a label
  const clean = value.replace(/[\u0000-\u001f\u007f-\u009f]/g, '').trim()
  return clean === '' ? undefined : clean.slice(0, CALLER_NAME_MAX_CHARS)
}

function numberHeader(headers: Headers, name: string): number | undefined {
  const value = headerIn(headers, name)?.trim()
  if (!value) return undefined
  const number = Number(value)
  return Number.isFinite(number) ? number : undefined
}

function positiveIn(headers: Headers, name: string): number | undefined {
  const number = numberHeader(headers, name)
  return number !== undefined && number > 0 ? number : undefined
}

function priorityIn(headers: Headers, name: string): number | undefined {
  const number = numberHeader(headers, name)
  return number === undefined ? undefined : Math.max(-PRIORITY_MAX, Math.min(PRIORITY_MAX, number))
}
