import { FEATURE_HASH } from '../../plugin/log/read/columns.ts'
import type { Decision } from '../../plugin/log/read/decision.ts'
import type { Model } from '../answer.ts'
import { formatNumber, formatPercentWhole, formatSeconds, known } from '../format.ts'
import type { RouterLine } from '../router-line.ts'

/** What the router says of one policy. */
interface Wish {
  readonly policy: string
  readonly instances: readonly string[]
  readonly probability: number
  readonly unknown?: string
  readonly about?: boolean
}

/** What the router expects one instance to have made of the call, ms; null unknown. */
export interface Expected {
  readonly instance: string
  readonly ttftMs: number | null
  readonly e2eMs: number | null
  readonly othersMs: number | null
}

/** Which features decided, as the router found by asking the policy again. */
export interface Because {
  readonly columns: readonly string[]
  readonly changes: boolean
}

/** What was asked of the router for a decision's page; `expected` is by instance name, empty where it does not say. */
interface Asked {
  readonly model: Model
  readonly expected: ReadonlyMap<string, Expected>
  readonly because?: Because | undefined
}

/** A page waits no longer for what is only beside its point. */
const WITHIN_MS = 400

/**
 * What every other policy without a memory would have chosen, told by the router from the row that the decision saw: the admin knows no policy. Undefined
 * where there is no such row; a router that does not answer is said in words.
 */
export async function whatIf(line: RouterLine, decision: Decision): Promise<Asked | undefined> {
  const { call, candidates, callFeatures } = decision
  if (callFeatures === undefined || candidates.length < 2) return undefined
  const row = (features: Float32Array): (number | null)[] => Array.from(features, (value) => known(value) ?? null)
  const body = {
    pool: call.pool,
    featureHash: FEATURE_HASH,
    call: row(callFeatures),
    candidates: candidates.flatMap((one) => (one.features === undefined ? [] : [{ instance: one.instance, features: row(one.features) }])),
    ...(call.reason === 'lowest cost'
      ? { decided: { policy: call.policy, version: call.policyVersion, costs: candidates.map((one) => known(one.cost) ?? null) } }
      : {}),
  }
  const answer = await line.ask({ method: 'POST', path: '/v1/what-if', body, withinMs: WITHIN_MS })
  if (answer.kind === 'unreachable') return said(`The router could not be asked: ${answer.why}.`)
  if (answer.status !== 200) return said('The router has no such pool any more.')
  const { policies, expected, because } = answer.body as {
    readonly policies: readonly Wish[]
    readonly expected?: readonly Expected[]
    readonly because?: Because
  }
  const wishes = policies.filter((one) => one.policy !== call.policy)
  const byInstance = new Map((expected ?? []).map((one) => [one.instance, one]))
  const rows = rowsOf(wishes, decision, byInstance)
  const about = wishes.filter((one) => one.about).map((one) => one.policy)
  return {
    model: { problem: undefined, rows, unknown: unknownOf(wishes), about: about.join(', '), timed: expected !== undefined },
    expected: byInstance,
    because,
  }
}

const said = (problem: string): Asked => ({
  model: { problem, rows: [], unknown: [], about: '', timed: false },
  expected: new Map(),
})

/** Policies that wish the same stand in one row, those that agree with what was done first. */
function rowsOf(wishes: readonly Wish[], { candidates }: Decision, expected: ReadonlyMap<string, Expected>): Model[] {
  const [chosen] = candidates
  const costs = new Map(candidates.map((one) => [one.instance, one.cost]))
  const groups = Map.groupBy(
    wishes.filter((one) => one.unknown === undefined),
    ({ instances }) => instances.join(', '),
  )
  return [...groups]
    .map(([names, own]) => {
      const instances = own[0]?.instances ?? []
      const same = instances.includes(chosen?.instance ?? '')
      const draws = instances.length > 1
      const extra = draws ? undefined : (costs.get(instances[0] ?? '') ?? Number.NaN) - (chosen?.cost ?? Number.NaN)
      return {
        policies: own.map((one) => one.policy).join(', '),
        instances: instances.length === candidates.length ? 'any of them' : names,
        draws: draws ? `drawn, ${formatPercentWhole(own[0]?.probability)} each` : undefined,
        ttft: rangeOf(instances.map((name) => expected.get(name)?.ttftMs)),
        e2e: rangeOf(instances.map((name) => expected.get(name)?.e2eMs)),
        others: rangeOf(instances.map((name) => expected.get(name)?.othersMs)),
        agrees: { text: same ? (draws ? 'perhaps the same' : 'the same') : 'another', tone: same ? 'good' : 'warn' },
        extra:
          extra === undefined || known(extra) === undefined || same
            ? undefined
            : `${extra > 0 ? '+' : extra < 0 ? '−' : ''}${formatNumber(Math.abs(extra))}`,
        order: same ? 0 : 1,
      }
    })
    .sort((a, b) => a.order - b.order)
}

/** One time in seconds, or from the least to the greatest of several; undefined where one is not known. */
function rangeOf(values: readonly (number | null | undefined)[]): string | undefined {
  const ms = values.flatMap((value) => known(value ?? null) ?? [])
  if (ms.length === 0 || ms.length < values.length) return undefined
  const [least, most] = [formatSeconds(Math.min(...ms)), formatSeconds(Math.max(...ms))]
  return least === most ? least : `${least} to ${most}`
}

function unknownOf(wishes: readonly Wish[]): Model[] {
  const groups = Map.groupBy(
    wishes.filter((one) => one.unknown !== undefined),
    (one) => one.unknown ?? '',
  )
  return [...groups].map(([why, own]) => ({ why, policies: own.map((one) => one.policy).join(', ') }))
}
