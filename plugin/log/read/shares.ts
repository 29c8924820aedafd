import { floatsOf } from '../blob.ts'
import { firstIdAt } from './ids.ts'
import type { Query } from './reader.ts'

/** What the decisions about one instance come to, over the calls that `readShares` looked at. Counts are of calls. */
export interface InstanceShare {
  /** Served by this instance in the end: the last attempt. */
  readonly served: number
  /** Expected here: the sum, over the pool's decisions, of the probability that this instance had in them. */
  readonly explained: number
  /** Variance of what `explained` expects: the sum of p(1 − p). */
  readonly variance: number
  /** Of `served`, those that were decided for another instance. */
  readonly moved: number
  /** Of `moved`, those that came here after another attempt. */
  readonly retried: number
}

/** The calls of a pool that were looked at, and their instances by id. */
export interface PoolShares {
  readonly calls: number
  readonly instances: ReadonlyMap<number, InstanceShare>
}

/** Calls looked at, newest first: enough to tell a share within two points, and some 10 ms to read. */
export const SHARE_CALLS_MAX = 2_000

interface Row {
  readonly pool: string
  /** Of the decision. */
  readonly instanceId: number
  /** Of the last attempt; null where none was made. */
  readonly servedBy: number | null
  readonly propensity: number
  readonly attempts: number
  readonly instances: string | null
  readonly total: number | null
  readonly costs: Uint8Array | null
}

const CALLS = `SELECT pool, call.instance_id AS instanceId, propensity, attempts, instances, total, costs,
    (SELECT attempt.instance_id FROM attempt WHERE attempt.call_id = call.call_id ORDER BY attempt DESC LIMIT 1) AS servedBy
  FROM call LEFT JOIN candidate USING (call_id)
  WHERE call_id >= ? AND +call.instance_id IS NOT NULL ORDER BY call_id DESC LIMIT ${SHARE_CALLS_MAX}`

/** What the newest calls since `fromUnixMs` came to against what their decisions expected, by pool. */
export function readShares(query: Query, fromUnixMs: number): ReadonlyMap<string, PoolShares> {
  const pools = new Map<string, { calls: number; instances: Map<number, Mutable> }>()
  for (const row of query.all<Row>(CALLS, [firstIdAt(fromUnixMs)])) {
    const pool = pools.get(row.pool) ?? { calls: 0, instances: new Map<number, Mutable>() }
    pools.set(row.pool, pool)
    pool.calls += 1
    const servedBy = row.servedBy ?? row.instanceId
    const served = entryOf(pool.instances, servedBy)
    served.served += 1
    if (servedBy !== row.instanceId) {
      served.moved += 1
      if (row.attempts > 1) served.retried += 1
    }
    for (const [instanceId, p] of wishesOf(row)) {
      const entry = entryOf(pool.instances, instanceId)
      entry.explained += p
      entry.variance += p * (1 - p)
    }
  }
  return pools
}

type Mutable = { -readonly [Key in keyof InstanceShare]: InstanceShare[Key] }

function entryOf(instances: Map<number, Mutable>, instanceId: number): Mutable {
  const entry = instances.get(instanceId) ?? { served: 0, explained: 0, variance: 0, moved: 0, retried: 0 }
  instances.set(instanceId, entry)
  return entry
}

/**
 * The probability that a decision gave each candidate. The log holds that of the chosen one, true by construction; with costs the others follow: all of least
 * cost share 1 − ε, everybody gets ε / n, and ε is the one that gives the chosen its probability. Where a policy weighs no costs, what is left is spread evenly over
 * the others: exact for draws among equals, near enough for the rest. A decision whose candidates were not logged explains its own choice.
 */
export function wishesOf(row: Pick<Row, 'instances' | 'costs' | 'total' | 'propensity' | 'instanceId'>): [instanceId: number, p: number][] {
  const ids = row.instances === null ? [] : (JSON.parse(row.instances) as number[])
  const total = Math.max(row.total ?? 0, ids.length)
  const [chosen] = ids
  if (chosen === undefined) return [[row.instanceId, 1]]
  if (total === 1) return [[chosen, 1]]
  const costs = row.costs === null ? new Float32Array() : floatsOf(row.costs)
  const shares = sharesByCost(costs, ids.length)
  const own = shares?.[0] ?? Number.NaN
  const explored = shares && Math.abs(own - 1 / total) > NEAR ? (own - row.propensity) / (own - 1 / total) : Number.NaN
  if (shares && explored >= -NEAR && explored <= 1 + NEAR)
    return ids.map((id, i) => [id, (1 - explored) * (shares[i] ?? 0) + explored / total])
  const others = (1 - row.propensity) / (total - 1)
  return ids.map((id, i) => [id, i === 0 ? row.propensity : others])
}

/** Probabilities and logged costs (32 bit) nearer than this, relatively, are the same. */
const NEAR = 1e-6

/** Evenly over the candidates of least cost; undefined where some cost is not known. */
function sharesByCost(costs: Float32Array, count: number): number[] | undefined {
  const known = Array.from(costs.subarray(0, count))
  if (known.length < count || known.some((cost) => Number.isNaN(cost))) return undefined
  const least = Math.min(...known)
  const ties = known.map((cost) => cost <= least + NEAR * Math.max(1, Math.abs(least)))
  const tied = ties.filter(Boolean).length
  return ties.map((tie) => (tie ? 1 / tied : 0))
}
