import { CALL_COLUMNS, CANDIDATE_COLUMNS } from '../../plugin/log/read/columns.ts'
import { type Decision, readDecision, type StoredCall } from '../../plugin/log/read/decision.ts'
import { formatId, parseId } from '../../plugin/log/read/ids.ts'
import type { Answer, Model, Visit } from '../answer.ts'
import { formatColumn } from '../column-text.ts'
import {
  formatCount,
  formatDuration,
  formatInstant,
  formatInstantLong,
  formatNumber,
  formatPercent,
  formatSeconds,
  known,
} from '../format.ts'
import { createLengthPanel } from '../length-panel.ts'
import type { PageParts } from '../routes.ts'
import { createTimeline, phasesOf, stretchOf } from '../timeline.ts'
import { explain, policyWords } from '../why.ts'
import { localInput } from '../zone.ts'
import { outcomeTone } from './tone.ts'
import { type Expected, whatIf } from './what-if.ts'

/** Others listed under the drawing; the drawing itself shows more. */
const OTHERS_LISTED_MAX = 40

/** Width of the longest cost bar in its drawing. */
const COST_BAR_PX = 90

/** One call: why it went where it went, from what, and what came of it. */
export async function decisionPage({ reader, line }: PageParts, visit: Visit): Promise<Answer> {
  const callId = parseId(visit.params.callId ?? '')
  const decision = callId === undefined ? undefined : reader.read((query) => readDecision(query, callId))
  if (decision === undefined)
    return {
      kind: 'problem',
      status: 404,
      title: 'No such call',
      text: `There is no call ${visit.params.callId} in the log. It may still be running (calls are logged when they end), or it is older than what the log keeps.`,
    }
  const { call } = decision
  const phases = phasesOf(decision)
  const asked = await whatIf(line, decision)
  return {
    kind: 'page',
    view: 'decision',
    title: `Decision ${formatId(call.callId)}`,
    model: {
      id: formatId(call.callId),
      at: formatInstantLong(call.arrivedUnixMs),
      call,
      prompt: promptWords(call),
      streamed: call.stream === 1 ? 'streamed' : 'not streamed',
      tags: tagsOf(call),
      why: explain(decision, asked?.because),
      says: policyWords(call.policy),
      ...candidatesModel(decision, asked?.expected ?? new Map()),
      whatIf: asked?.model,
      phases: phases.map((phase) => ({ ...phase, from: formatSeconds(phase.fromMs), to: formatSeconds(phase.toMs) })),
      timeline: createTimeline(decision, phases),
      span: `arrival to last byte ${formatDuration(call.e2eMs)}`,
      others: decision.neighbours.slice(-OTHERS_LISTED_MAX).map((other) => {
        const { fromMs, toMs } = stretchOf(other, call.arrivedUnixMs)
        return { id: formatId(other.callId), from: formatSeconds(fromMs), to: formatSeconds(toMs) }
      }),
      othersCount: formatCount(decision.neighbours.length),
      predictions: predictionsOf(call),
      length: createLengthPanel(call),
      predicted: call.predictedE2eMs !== null || call.predictedOutputTokens !== null || call.predictedTtftMs !== null,
      attempts: attemptsOf(decision),
      callFeatures: callFeatures(decision),
      facts: factsOf(decision),
      labHref: labHref(call),
      newerHref: decision.newerId === undefined ? undefined : `/decisions/${formatId(decision.newerId)}`,
      olderHref: decision.olderId === undefined ? undefined : `/decisions/${formatId(decision.olderId)}`,
    },
  }
}

/** Calls around this one, to be played again under other policies. */
const LAB_AROUND_MS = 30 * 60_000

function labHref({ pool, arrivedUnixMs }: StoredCall): string {
  const [since, until] = [arrivedUnixMs - LAB_AROUND_MS, arrivedUnixMs + LAB_AROUND_MS].map(localInput)
  return `/lab?${new URLSearchParams({ source: 'stored', pool, since: since ?? '', until: until ?? '' })}`
}

function promptWords(call: StoredCall): string {
  if (call.promptTokens !== null) return `${formatCount(call.promptTokens)} prompt tokens`
  return `about ${formatCount(Math.round(call.promptTokensEstimate))} prompt tokens`
}

function tagsOf(call: StoredCall): Model[] {
  const version = (name: string, value: string): Model[] =>
    value === 'none' || value === '' ? [] : [{ text: `${name} ${value}`, tone: '' }]
  return [
    { text: call.outcome, tone: outcomeTone(call.outcome) },
    ...(call.explored === 1 ? [{ text: 'explored', tone: 'accent' }] : []),
    { text: call.policy, tone: '' },
    ...version('policy', call.policyVersion),
    ...version('length', call.lengthVersion),
  ]
}

/** Told by the router, first of a candidate's columns: how it expects the call to go there. */
const EXPECTED = [
  { label: 'TTFT expected, s', of: ({ ttftMs }: Expected) => ttftMs },
  { label: 'E2E expected, s', of: ({ e2eMs }: Expected) => e2eMs },
  { label: 'Impact: later for others, s', of: ({ othersMs }: Expected) => othersMs },
] as const

function candidatesModel(decision: Decision, expected: ReadonlyMap<string, Expected>): Model {
  const { call, candidates, candidatesTotal, otherFeatureHash } = decision
  const costs = candidates.map((one) => known(one.cost))
  const greatest = Math.max(0, ...costs.map((cost) => Math.abs(cost ?? 0)))
  const all = CANDIDATE_COLUMNS.map((column, at) => ({ column, at }))
  const shown = all.filter(({ at }) => candidates.some((one) => known(one.features?.[at]) !== undefined))
  const unknown = all.filter((one) => !shown.includes(one)).map(({ column }) => column.label.toLowerCase())
  const times = expected.size > 0 ? EXPECTED : []
  const rows = candidates.map((one, i) => ({
    instance: one.instance,
    href: `/fleet#i${one.instanceId}`,
    chosen: i === 0,
    tag: i === 0 ? 'chosen' : i === 1 ? 'runner-up' : undefined,
    sort: costs[i] ?? Number.POSITIVE_INFINITY,
    cost: formatNumber(one.cost),
    bar: costs[i] === undefined || greatest === 0 ? 0 : Math.max(1, Math.round((Math.abs(costs[i]) / greatest) * COST_BAR_PX)),
    features: one.features && [
      ...times.map(({ of }) => ({ text: formatSeconds(expected.has(one.instance) ? of(expected.get(one.instance) as Expected) : null) })),
      ...shown.map(({ column, at }) => ({ text: formatColumn(column, one.features?.[at] ?? Number.NaN) })),
    ],
  }))
  const some = candidates.some((one) => one.features !== undefined)
  const share = `propensity ${formatNumber(call.propensity)}`
  return {
    candidates: rows.sort((a, b) => (a.sort === b.sort ? Number(b.chosen) - Number(a.chosen) : a.sort - b.sort)),
    columns: some ? [...times, ...shown.map(({ column }) => column)].map(({ label }) => ({ label })) : [],
    unknown: some && unknown.length > 0 ? `Unknown for every candidate: ${unknown.join(', ')}.` : undefined,
    barMax: COST_BAR_PX,
    note: `${share} · ${call.explored === 1 ? 'explored' : 'no exploration'} · decided in ${formatNumber(call.decisionUs)} µs`,
    more: candidatesTotal > candidates.length ? `${candidatesTotal - candidates.length} more candidates were not logged.` : undefined,
    otherFeatureHash,
  }
}

function predictionsOf(call: StoredCall): Model[] {
  const row = (name: string, predicted: string | undefined, actual: string | undefined): Model => ({
    name,
    predicted: predicted ?? '–',
    actual: actual ?? '–',
  })
  return [
    row('Prompt tokens', formatCount(Math.round(call.promptTokensEstimate)), formatCount(call.promptTokens)),
    row('Output tokens', formatCount(call.predictedOutputTokens), outputWords(call)),
    row('TTFT, s', formatSeconds(call.predictedTtftMs), formatSeconds(call.ttftMs)),
    row('E2E, s', formatSeconds(call.predictedE2eMs), formatSeconds(call.e2eMs)),
  ]
}

const outputWords = (call: StoredCall): string | undefined =>
  call.outputTokens === null ? undefined : `${formatCount(call.outputTokens)}${call.censored === 1 ? ' (cut)' : ''}`

function attemptsOf({ attempts }: Decision): Model[] {
  return attempts.map((attempt, i) => ({
    number: i + 1,
    instance: attempt.instance,
    href: `/fleet#i${attempt.instanceId}`,
    from: formatSeconds(attempt.startedMs),
    to: formatSeconds(attempt.endedMs),
    outcome: { text: attempt.outcome, tone: outcomeTone(attempt.outcome) },
    error: attempt.error ?? '–',
  }))
}

function callFeatures({ callFeatures }: Decision): Model[] {
  return callFeatures === undefined
    ? []
    : CALL_COLUMNS.map((column, i) => ({ label: column.label, text: formatColumn(column, callFeatures[i] ?? Number.NaN) }))
}

function factsOf({ call, candidatesTotal }: Decision): Model[] {
  const facts: [string, string | undefined][] = [
    ['Call id', `${formatId(call.callId)} (${call.callId})`],
    ['Arrived', formatInstant(call.arrivedUnixMs).utc],
    ['API', call.api],
    ['Model asked for', call.model],
    ['Tenant', call.tenant],
    ['Task', call.task ?? '–'],
    ['Prompt', `${formatCount(call.promptBytes)} bytes`],
    ['Cached prompt tokens', formatCount(call.cachedPromptTokens)],
    ['Output limit asked for', formatCount(call.maxTokens) ?? 'none'],
    ['Candidates', formatCount(candidatesTotal)],
    ['Reason', call.reason],
    ['Propensity', formatPercent(call.propensity)],
    ['Placed after', formatDuration(call.placedMs)],
    ['Held', call.heldMs > 0 ? formatDuration(call.heldMs) : 'no'],
    ['TPOT', formatDuration(call.tpotMs)],
    ['HTTP status', call.status === null ? undefined : String(call.status)],
    ['Error', call.error ?? 'none'],
    ['Finish reason', call.finishReason ?? undefined],
    ['Tokens counted from', call.tokensFrom ?? undefined],
    ['Policy version', call.policyVersion],
    ['Length model version', call.lengthVersion],
    ['Length predicted from', call.lengthSource ?? undefined],
  ]
  return facts.map(([name, text]) => ({ name, text }))
}
