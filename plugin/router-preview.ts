import type { Router } from './router.ts'
import { createDecide } from './router-decide.ts'
import { knowCall } from './router-know.ts'
import { type RouterParts, SPARE_FALLBACKS } from './router-place.ts'
import type { Served } from './router-pools.ts'
import { noInstance, unknownModel } from './router-refusals.ts'
import { describeDecision, namedRows } from './router-rows.ts'
import { expectedOf } from './router-ticket.ts'

/** Decides as `place` does, and obeys nothing. Dice and counters of its own: what is only tried out must not shift what real calls get. */
export function createPreview(parts: RouterParts, names: ReadonlyMap<string, Served>, isOff: () => boolean): Router['preview'] {
  const { fleet, clock, retriesPerCall } = parts
  const decide = createDecide({
    fleet,
    rng: parts.rng.stream('preview'),
    fallbacksMax: retriesPerCall + SPARE_FALLBACKS,
    count: () => undefined,
  })
  return (call, options) => {
    const nowMs = clock.nowMs()
    const served = names.get(call.model)
    if (!served) throw unknownModel(call.model, [...names.keys()])
    const { pool, policies, plain } = served.at
    const known = knowCall(parts, pool.name, call, served.adapter)
    const subset = options.subset ? { subset: options.subset } : {}
    const deciding = { pool: pool.name, policies: isOff() ? plain : policies, isOff: isOff(), call, facts: known }
    const decision = decide({ ...deciding, lengthVersion: known.lengthVersion, nowMs, ...subset })
    if (!decision) throw noInstance(pool.name, options)
    const row = describeDecision({ decision, known, decisionMs: 0, heldMs: 0, placedMs: 0 })
    return { pool: served.facts, placement: decision.placement, expected: expectedOf(row), ...namedRows(decision.candidates) }
  }
}
