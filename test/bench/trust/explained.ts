import type { Call } from '../../../plugin/call/call.ts'
import type { InstanceView } from '../../../plugin/fleet/instance.ts'
import { type Attribution, attribute } from '../../../plugin/placement/attribution.ts'
import { AT, CANDIDATE_COLUMNS, type CandidateColumnName } from '../../../plugin/placement/features.ts'
import { createPolicy } from '../../../plugin/placement/policies.ts'
import type { Candidates, Policy } from '../../../plugin/placement/policy.ts'
import { rankOthers } from '../../../plugin/placement/ranking.ts'
import { createRng } from '../../../plugin/rng.ts'
import { Simulation } from '../../../plugin/simulation/fleet/simulation.ts'
import { streamOf } from '../../../plugin/simulation/fleet/twin-call.ts'
import type { Scenario } from '../../../plugin/simulation/scenario/scenarios.ts'

/** How well explanations held on sampled decisions of one policy in one scenario. */
export interface Explained {
  readonly policy: string
  readonly scenario: string
  /** Decisions at a single lowest cost. */
  readonly decisions: number
  /** At most three features were named whose replacement by the runner-up's changed the choice of the policy itself, asked again in the midst of the run. */
  readonly faithful: number
  readonly meanFeatures: number
}

const WIDTH = CANDIDATE_COLUMNS.length

/** Plays the scenario under the policy and explains `wanted` decisions spread over it, from their rows alone, as a stored decision would be. */
export function explainSampled(given: {
  readonly policy: string
  readonly scenario: Scenario
  readonly wanted: number
  readonly create?: () => Policy
}): Explained {
  const { scenario, wanted } = given
  const create = given.create ?? (() => createPolicy(given.policy))
  const asked = create()
  const calls = scenario.calls({ seed: 7 })
  const every = Math.max(1, Math.floor(calls.length / (3 * wanted)))
  const names = [...scenario.fleet].map((one) => one.name).sort()
  const found: { readonly columns: number; readonly holds: boolean }[] = []
  let seen = 0
  const explain: Policy['distribute'] = (candidates, call, out) => {
    own.distribute(candidates, call, out)
    const { count } = candidates
    if (count < 2 || seen++ % every > 0 || found.length >= wanted) return
    const chosen = out.probabilities.subarray(0, count).indexOf(1)
    if (chosen < 0) return
    const [runnerUp] = rankOthers({ candidates, out, chosen, most: 1 })
    const sight: Sight = { candidates, call, chosen, runnerUp: runnerUp!, costs: out.costs.slice(0, count) }
    const attribution = attribute(asked, {
      callRow: candidates.callRow.slice(),
      rows: Array.from({ length: count }, (_, i) => candidates.rows.slice(i * WIDTH, (i + 1) * WIDTH)),
      costs: Float32Array.from(sight.costs),
      names,
      chosen,
      runnerUp: runnerUp!,
    })
    if (attribution)
      found.push({ columns: attribution.columns.length, holds: attribution.changes && changesForReal(asked, sight, attribution) })
  }
  const own = create()
  const spy: Policy = { ...own, distribute: explain }
  new Simulation({
    fleet: scenario.fleet,
    calls: streamOf(calls),
    policy: () => spy,
    policyName: given.policy,
    rng: createRng(1),
    onEnd: () => undefined,
  }).run()
  const faithful = found.filter((one) => one.holds)
  return {
    policy: given.policy,
    scenario: scenario.name,
    decisions: found.length,
    faithful: faithful.length,
    meanFeatures: faithful.reduce((sum, one) => sum + one.columns, 0) / Math.max(1, faithful.length),
  }
}

interface Sight {
  readonly candidates: Candidates
  readonly call: Call
  readonly chosen: number
  readonly runnerUp: number
  readonly costs: Float64Array
}

const SCRAPED = new Set<CandidateColumnName>(['waiting', 'running', 'kvUsage', 'foreignInFlight', 'kvTokensCapacity'])

/** Asks the policy with the live instances, the named features of the chosen one exchanged for the runner-up's: is it still the cheapest alone? */
function changesForReal(
  policy: Policy,
  { candidates, call, chosen, runnerUp, costs }: Sight,
  { columns, readsCalls }: Attribution,
): boolean {
  const rows = candidates.rows.slice(0, candidates.count * WIDTH)
  for (const column of columns) rows[chosen * WIDTH + AT[column]] = rows[runnerUp * WIDTH + AT[column]]!
  const own = candidates.instances[chosen]!
  const other = candidates.instances[runnerUp]!
  const takes = (column: CandidateColumnName): boolean => columns.includes(column)
  const view: InstanceView = {
    slot: own.slot,
    name: takes('speed') ? other.name : own.name,
    pool: own.pool,
    url: own.url,
    state: own.state,
    speed: takes('speed') ? other.speed : own.speed,
    weight: takes('weight') ? other.weight : own.weight,
    slowStartRatio: own.slowStartRatio,
    wholePaceMs: takes('inFlight') && readsCalls ? other.wholePaceMs : own.wholePaceMs,
    ledger: takes('inFlight') && readsCalls ? other.ledger : own.ledger,
    scrape: columns.some((column) => SCRAPED.has(column)) ? other.scrape : own.scrape,
  }
  const instances = Array.from({ length: candidates.count }, (_, i) => (i === chosen ? view : candidates.instances[i]!))
  const out = { costs: new Float64Array(candidates.count), probabilities: new Float64Array(candidates.count) }
  policy.distribute({ ...candidates, rows, instances }, call, out)
  const tie = 1e-6 * Math.max(Math.abs(costs[chosen]!), Math.abs(costs[runnerUp]!))
  return out.costs.some((cost, i) => i !== chosen && cost <= out.costs[chosen]! + tie)
}
