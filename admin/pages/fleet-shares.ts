import type { PoolShares } from '../../plugin/log/read/shares.ts'
import { formatCount, formatPercent } from '../format.ts'

/** More calls than this many standard deviations above what the decisions explain is no accident… */
const ALARM_SIGMAS = 5
/** …and below this share of all calls above it, it is too little to look at. */
const ALARM_RATIO = 0.05
/** A policy that always knows what it wants leaves chance nothing: so much of it is always allowed, as of as many calls drawn at even odds. */
const LEAST_VARIANCE = 1

/** The share of the pool's newest calls that its decisions meant for this instance; undefined where there were none. */
export function explainedShare(pool: PoolShares | undefined, instanceId: number): string | undefined {
  return pool && formatPercent((pool.instances.get(instanceId)?.explained ?? 0) / pool.calls)
}

/** What is said when an instance serves more of the pool's calls than the policy's decisions explain; undefined when it does not. */
export function shareAlarm(pool: PoolShares | undefined, instanceId: number): string | undefined {
  const own = pool?.instances.get(instanceId)
  if (pool === undefined || own === undefined) return undefined
  const { served, explained, variance, moved, retried } = own
  const more = served - explained
  if (more < ALARM_SIGMAS * Math.sqrt(Math.max(LEAST_VARIANCE, variance)) || more < ALARM_RATIO * pool.calls) return undefined
  const words = `serves ${formatPercent(served / pool.calls)} of the last ${formatCount(pool.calls)} calls, the policy explains ${formatPercent(explained / pool.calls)}`
  if (moved === 0) return words
  const elsewhere = `${formatCount(moved)} were decided for another instance`
  return `${words}: ${elsewhere}${retried === 0 ? '' : `, ${formatCount(retried)} of them failed there first`}`
}
