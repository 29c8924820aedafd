import { type Expected, type InstanceView, type Placement, PlacementError, type PoolFacts, type Preview } from '../../router.ts'
import type { Matched } from './directory.ts'
import { Problem, refusedPlacement } from './problems.ts'
import type { Placed, PlacedInstance } from './schemas.ts'

/** What the router decided, as callers are told. */

interface Decided {
  readonly pool: PoolFacts
  readonly placement: Placement
  readonly instance: InstanceView
  readonly expected: Expected
}

/** A ticket's, or a preview's, current attempt. */
export function placedBy(
  { pool, placement, instance, expected }: Decided,
  matched: Matched | undefined,
): Omit<Placed, 'placementId' | 'attempt'> {
  const named = (one: InstanceView): PlacedInstance => {
    const candidate = matched?.known.find(({ instance: known }) => known.url === one.url && known.pool === one.pool)?.id
    return { name: one.name, pool: one.pool, url: one.url, ...(candidate === undefined ? {} : { candidate }) }
  }
  const { policy, reason, propensity, fallbacks } = placement
  return {
    held: false,
    model: pool.upstreamModel,
    instance: named(instance),
    fallbacks: fallbacks.filter((one) => one !== instance).map(named),
    policy,
    reason,
    propensity,
    predicted: expected,
    unknownCandidates: [...(matched?.unknown ?? [])],
  }
}

/** What a preview's policy saw; JSON has no NaN: unknown is null. */
export function weighedBy({ callFeatures, weighed }: Preview): NonNullable<Placed['weighed']> {
  const known = (value: number): number | null => (Number.isFinite(value) ? value : null)
  const named = (features: Preview['callFeatures']): Record<string, number | null> =>
    Object.fromEntries(Object.entries(features).map(([name, value]) => [name, known(value)]))
  return {
    call: named(callFeatures),
    candidates: weighed.map(({ instance, cost, features }) => ({ instance, cost: known(cost), features: named(features) })),
  }
}

/** Runs `decide`; a PlacementError becomes the Problem to answer with. */
export function refusing<T>(decide: () => T): T {
  try {
    return decide()
  } catch (error) {
    if (error instanceof PlacementError) throw refusedPlacement(error)
    throw error
  }
}

/** 404: never heard of it, or forgotten. */
export function unknownPlacement(): Problem {
  return new Problem({ kind: 'unknown-placement', status: 404, detail: 'No placement has this id, or it ended long ago.' })
}

/** Candidates named in words of a problem; all of them stand beside. */
const NAMED_MAX = 5

/** 404: the caller's candidates are all strangers. */
export function noKnownCandidate(unknown: readonly string[]): Problem {
  const names = unknown.slice(0, NAMED_MAX).join(', ')
  return new Problem(
    { kind: 'no-known-candidate', status: 404, detail: `No instance here has these names or addresses: ${names}.` },
    { unknownCandidates: [...unknown] },
  )
}
