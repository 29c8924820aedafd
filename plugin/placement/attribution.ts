import { AT, CANDIDATE_COLUMNS, type CandidateColumnName } from './features.ts'
import type { Candidates, Distribution, Policy } from './policy.ts'
import { recordedCall, recordedInstance } from './recorded.ts'

/** A decision as its rows tell it: the call's and one per candidate, in any order. NaN is unknown. */
export interface RecordedDecision {
  readonly callRow: Float32Array
  /** In the order of CANDIDATE_COLUMNS. */
  readonly rows: readonly Float32Array[]
  /** What the policy weighed, one per row; NaN where it weighed nothing. */
  readonly costs: ArrayLike<number>
  /** Names of the candidates, for a policy that knows profiles by name; positions otherwise. */
  readonly names?: readonly string[]
  readonly chosen: number
  readonly runnerUp: number
}

/** Which features decided between the chosen instance and the runner-up. */
export interface Attribution {
  /** At most three, the strongest first. */
  readonly columns: readonly CandidateColumnName[]
  /** With the runner-up's values in `columns` the instance would not have been the cheapest alone. False: no three features decide it. */
  readonly changes: boolean
  /** The policy weighs the calls in flight one by one: `inFlight` then stands for all of them. `speed` stands for the instance's type where the policy knows types. */
  readonly readsCalls: boolean
}

/** Features an explanation names at most: more is no explanation. */
const NAMED_MAX = 3
const WIDTH = CANDIDATE_COLUMNS.length
/** Policies that roll the calls in flight forward one by one. */
const READS_CALLS = new Set(['impact', 'predicted-latency'])
/** Policies that know an instance's type by its name, beyond the speed that is written for it. */
const READS_TYPES = new Set([...READS_CALLS, 'learned'])
/** Columns of the ledger: what a policy that reads calls knows as one thing. */
const LEDGER = [
  AT.inFlight,
  AT.prefillTokensPending,
  AT.promptTokensInFlight,
  AT.outputTokensLeft,
  AT.outputTokensDone,
  AT.awaitingFirstToken,
]
const BELIEVED = [AT.waitingBelieved, AT.kvTokensBelieved]
/** How old a signal is decides nothing by itself. */
const NEVER_NAMED = new Set<number>([AT.scrapeAge])

/** What is replaced together, under the name of its first column. */
type Feature = readonly number[]

function featuresOf(readsCalls: boolean): Feature[] {
  const single = CANDIDATE_COLUMNS.map((_, column) => [column]).filter(([column]) => !NEVER_NAMED.has(column as number))
  if (!readsCalls) return single
  const together = new Set([...LEDGER, ...BELIEVED])
  return [[...LEDGER, ...BELIEVED], ...single.filter(([column]) => !together.has(column as number))]
}

/**
 * Finds, by asking the policy, at most three features of the chosen candidate whose replacement by the runner-up's changes the choice: at each step the one that
 * suffices, else the one that closes most of the distance in cost. For a policy that keeps state there is nothing to ask, and one that drew by lot
 * or weighed nothing has no reasons: undefined.
 */
export function attribute(policy: Policy, decision: RecordedDecision): Attribution | undefined {
  const { rows, costs, chosen, runnerUp } = decision
  if (policy.onPlaced || policy.onSettled || !((costs[chosen] as number) <= (costs[runnerUp] as number))) return undefined
  const readsCalls = readsCallsOf(policy)
  const features = featuresOf(readsCalls)
  const ask = createQuestion(policy, decision)
  const taken: Feature[] = []
  while (taken.length < NAMED_MAX) {
    const step = nextFeature(ask, features, taken)
    if (!step) break
    taken.push(step.feature)
    if (!step.chooses) return { columns: needed(ask, taken).map(nameOf), changes: true, readsCalls }
  }
  return { columns: taken.map(nameOf), changes: false, readsCalls }

  function nextFeature(ask: Question, features: readonly Feature[], taken: readonly Feature[]): Step | undefined {
    let best: Step | undefined
    for (const feature of features) {
      if (taken.includes(feature) || !differs(feature)) continue
      const answer = ask([...taken, feature].flat())
      if (!best || (best.chooses && !answer.chooses) || (best.chooses === answer.chooses && answer.lead > best.lead))
        best = { ...answer, feature }
    }
    return best
  }

  function differs(feature: Feature): boolean {
    if (feature[0] === AT.speed && READS_TYPES.has(plainName(policy))) return true
    return feature.some((column) => !Object.is(rows[chosen]?.[column], rows[runnerUp]?.[column]))
  }
}

const plainName = ({ name }: Pick<Policy, 'name'>): string => name.replace(/^oracle-/, '')

const readsCallsOf = ({ name }: Policy): boolean => READS_CALLS.has(plainName({ name }))

const nameOf = (feature: Feature): CandidateColumnName => CANDIDATE_COLUMNS[feature[0] as number]?.name as CandidateColumnName

interface Answer {
  /** Still the cheapest, and alone. */
  readonly chooses: boolean
  /** Own cost less the runner-up's: below 0 while it is the better one. */
  readonly lead: number
}

interface Step extends Answer {
  readonly feature: Feature
}

/** Asks the policy with these columns of the chosen candidate replaced by the runner-up's. */
type Question = (replaced: readonly number[]) => Answer

/** Without those that turned out not to be needed. */
function needed(ask: Question, features: readonly Feature[]): Feature[] {
  let kept = [...features]
  for (const feature of features) {
    const rest = kept.filter((one) => one !== feature)
    if (rest.length > 0 && !ask(rest.flat()).chooses) kept = rest
  }
  return kept
}

/**
 * The rows do not hold all that a policy may have seen (not each call in flight), so what it weighed then is the level, and what it weighs now with and without the replacement is
 * the difference.
 */
function createQuestion(policy: Policy, { callRow, rows, costs, names, chosen, runnerUp }: RecordedDecision): Question {
  const count = rows.length
  const flat = new Float32Array(count * WIDTH)
  const out: Distribution = { costs: new Float64Array(count), probabilities: new Float64Array(count) }
  const call = recordedCall(callRow)
  const leadWith = (replaced: readonly number[]): number => {
    for (const [i, row] of rows.entries()) flat.set(row, i * WIDTH)
    for (const column of replaced) flat[chosen * WIDTH + column] = rows[runnerUp]?.[column] as number
    const nameAt = (i: number): string => names?.[i === chosen && replaced.includes(AT.speed) ? runnerUp : i] ?? String(i)
    const instances = Array.from({ length: count }, (_, i) =>
      recordedInstance(flat.subarray(i * WIDTH, (i + 1) * WIDTH), { slot: i, name: nameAt(i) }),
    )
    const candidates: Candidates = { count, instances, rows: flat, callRow, nowMs: 0 }
    policy.distribute(candidates, call, out)
    return (out.costs[chosen] as number) - (out.costs[runnerUp] as number)
  }
  const readsCalls = readsCallsOf(policy)
  const before = leadWith([])
  const recorded = (costs[chosen] as number) - (costs[runnerUp] as number)
  const tie = 1e-6 * Math.max(Math.abs(costs[chosen] as number), Math.abs(costs[runnerUp] as number))
  // With the same calls on both sides, what the rows leave out of them is left out of both.
  return (replaced) => {
    const lead = leadWith(replaced) + (readsCalls && replaced.includes(AT.inFlight) ? 0 : recorded - before)
    return { chooses: lead < -tie, lead }
  }
}
