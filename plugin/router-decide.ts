import type { Call } from './call/call.ts'
import { freshFloats } from './call/cells.ts'
import type { Fleet, LiveInstance } from './fleet/fleet.ts'
import type { CandidatesRow, InstanceKey } from './log/rows.ts'
import { type CallFacts, createWorkbench } from './placement/candidates.ts'
import { chooseEligible, createChoose, type PoolPolicies } from './placement/choose.ts'
import { CALL_COLUMNS, CANDIDATE_COLUMNS, FEATURE_HASH } from './placement/features.ts'
import type { Candidates, Distribution, Placement } from './placement/policy.ts'
import { rankOthers, sampleLogged } from './placement/ranking.ts'
import type { Rng } from './rng.ts'

export interface DecideParts {
  readonly fleet: Pick<Fleet, 'candidates' | 'instances' | 'matchPrefix' | 'slotBound'>
  readonly rng: Rng
  /** Ordered fallbacks kept with a placement. */
  readonly fallbacksMax: number
  readonly count: (what: string) => void
}

/** One decision: the placement to obey, the row to log, and what share of the prompt the instance probably holds. */
export interface Decision {
  readonly placement: Placement
  readonly instance: LiveInstance
  readonly fallbacks: readonly LiveInstance[]
  readonly prefixMatchRatio: number
  readonly candidates: CandidatesRow
  /** Where a challenger in shadow would have sent it. */
  readonly shadow?: LiveInstance
}

export interface DecideInput {
  readonly pool: string
  readonly policies: PoolPolicies
  readonly call: Call
  readonly facts: CallFacts
  readonly lengthVersion: string
  readonly subset?: readonly string[]
  /** Only these may take the call: those that the queue found open to it. */
  readonly only?: readonly LiveInstance[]
  /** One of the subset takes the call in any case. */
  readonly insists?: true
  /** Asked beside the policy and not obeyed: the place among the candidates that it would take. */
  readonly shadow?: ((candidates: Candidates, call: Call) => number | undefined) | undefined
  /** Phasewise is switched off: `policies` are the plain ones. */
  readonly isOff?: boolean
  readonly nowMs: number
}

/**
 * The synchronous middle of the loop: candidates, features, policy, draw. Returns undefined when no instance may take the call. A
 * policy that throws is replaced by the pool's fallback policy, and that one by an even draw: a broken rule costs quality, never a call.
 */
export function createDecide(parts: DecideParts): (input: DecideInput) => Decision | undefined {
  const workbench = createWorkbench()
  const choose = createChoose(parts)
  let matched = new Uint16Array(64)
  const eligible: LiveInstance[] = []

  return (input) => {
    const { pool, call } = input
    const list = parts.fleet.candidates(pool)
    const { subset, only } = input
    const accepts = only
      ? (instance: LiveInstance) => only.includes(instance)
      : subset && ((one: LiveInstance) => subset.includes(one.endpoint))
    const open = chooseEligible<LiveInstance>({
      instances: list.instances,
      count: list.count,
      accepts,
      eligible,
    })
    const isForced = open === 0 && input.insists === true
    const count = isForced ? chooseAny(parts.fleet.instances(pool), subset, eligible) : open
    if (count === 0) return undefined
    const bound = parts.fleet.slotBound(pool)
    if (matched.length < bound) matched = new Uint16Array(2 * bound)
    if (call.prefixBlocks.length > 0) parts.fleet.matchPrefix(pool, call, matched)
    const candidates = workbench.fill({ ...input, instances: eligible, count, matchedBlocks: matched })
    const { draw, policy, reason } = choose({ candidates, out: workbench.out, call, policies: input.policies })
    const others = rankOthers({ candidates, out: workbench.out, chosen: draw.index, most: Math.max(1, parts.fallbacksMax) })
    const instance = eligible[draw.index] as LiveInstance
    const shadowed = input.shadow?.(candidates, call)
    const fallbacks = others.slice(0, parts.fallbacksMax).map((i) => eligible[i] as LiveInstance)
    return {
      instance,
      fallbacks,
      placement: {
        instance,
        fallbacks,
        policy: policy.name,
        reason: list.failOpen || isForced ? 'any reachable instance' : input.isOff ? 'switched off' : reason,
        propensity: draw.propensity,
        explored: draw.explored,
        policyVersion: policy.version ?? 'none',
        lengthVersion: input.lengthVersion,
      },
      prefixMatchRatio: call.prefixBlocks.length === 0 ? 0 : (matched[instance.slot] ?? 0) / call.prefixBlocks.length,
      candidates: snapshot(candidates, workbench.out, sampleLogged(count, draw.index, others[0], call.callId)),
      ...(shadowed === undefined ? {} : { shadow: eligible[shadowed] as LiveInstance }),
    }
  }
}

/** Fills `eligible` with all of the subset, in whatever state. */
function chooseAny(instances: readonly LiveInstance[], subset: readonly string[] | undefined, eligible: LiveInstance[]): number {
  let kept = 0
  for (const one of instances) if (!subset || subset.includes(one.endpoint)) eligible[kept++] = one
  return kept
}

const keys = new WeakMap<LiveInstance, InstanceKey>()

/** An instance as the log names it; the same object each time, which crosses to the log thread once per batch. */
export function keyOf(instance: LiveInstance): InstanceKey {
  const known = keys.get(instance)
  if (known?.url === instance.url) return known
  const key = { pool: instance.pool, name: instance.name, url: instance.url }
  keys.set(instance, key)
  return key
}

/** The rows as the policy saw them, copied bit for bit (I7). */
function snapshot(candidates: Candidates, out: Distribution, logged: readonly number[]): CandidatesRow {
  const width = CANDIDATE_COLUMNS.length
  const features = freshFloats(CALL_COLUMNS.length + logged.length * width)
  features.set(candidates.callRow)
  const costs = freshFloats(logged.length)
  const instances = logged.map((index, k) => {
    const from = index * width
    const at = CALL_COLUMNS.length + k * width
    for (let c = 0; c < width; c++) features[at + c] = candidates.rows[from + c] as number
    costs[k] = out.costs[index] as number
    return keyOf(candidates.instances[index] as LiveInstance)
  })
  return { featureHash: FEATURE_HASH, total: candidates.count, instances, features, costs }
}
