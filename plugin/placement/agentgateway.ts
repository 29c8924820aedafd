import { cell } from './cell.ts'
import { AT } from './features.ts'
import { InstanceMemory } from './instance-memory.ts'
import { createBetterOfTwo } from './p2c.ts'
import type { Policy } from './policy.ts'

/** Weight of the newest sample in both averages. Chosen: agentgateway's moving averages follow a change within about ten calls. */
const NEWEST_RATIO = 0.1
const PENDING_WEIGHT = 0.1

/**
 * `agentgateway`: of two distinct random candidates the one with the higher health ÷ (1 + latency · (1 + 0.1 · pending)), health a moving average of
 * success and latency one of seconds. The cost is the inverse of that score.
 */
export function createAgentgateway(): Policy {
  const seen = new InstanceMemory(() => ({ health: 1, latencySeconds: 0 }))
  const preferBetter = createBetterOfTwo()
  return {
    name: 'agentgateway',
    reason: 'better of two drawn',
    distribute(candidates, _call, out) {
      const { count, instances } = candidates
      for (let i = 0; i < count; i++) {
        const { health, latencySeconds } = seen.of(instances[i])
        const pending = cell(candidates, i, AT.inFlight)
        out.costs[i] = (1 + latencySeconds * (1 + PENDING_WEIGHT * pending)) / Math.max(1e-6, health)
      }
      preferBetter(count, out)
    },
    onSettled: (instance, _call, { completed, e2eMs }) => {
      const one = seen.of(instance)
      one.health += NEWEST_RATIO * ((completed ? 1 : 0) - one.health)
      if (completed && e2eMs >= 0)
        one.latencySeconds =
          one.latencySeconds === 0 ? e2eMs / 1_000 : one.latencySeconds + NEWEST_RATIO * (e2eMs / 1_000 - one.latencySeconds)
    },
  }
}
