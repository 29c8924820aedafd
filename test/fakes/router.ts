import { createManualClock, type ManualClock } from '../../plugin/clock.ts'
import { createFleet, type Fleet } from '../../plugin/fleet/fleet.ts'
import { FLEET_DEFAULTS } from '../../plugin/fleet/options.ts'
import type { CallRow, LogRow } from '../../plugin/log/rows.ts'
import { createRunningLength } from '../../plugin/prediction/running-length.ts'
import { createRng } from '../../plugin/rng.ts'
import { createRouter, type LiveRouter, type RouterParts, type RouterPool } from '../../plugin/router-place.ts'

/** A real router over a real fleet, with a clock that a test moves and a log that it can read. */
export interface RouterBench {
  readonly router: LiveRouter
  readonly fleet: Fleet
  readonly clock: ManualClock
  readonly rows: LogRow[]
  readonly calls: () => CallRow[]
  readonly counted: string[]
  /** As the router was made with. */
  readonly pool: RouterPool
}

export function createRouterBench(
  change: { readonly pool?: Partial<RouterPool>; readonly instances?: number; readonly parts?: Partial<RouterParts> } = {},
): RouterBench {
  const fleet = createFleet({ options: FLEET_DEFAULTS })
  fleet.reconcile(
    'm',
    Array.from({ length: change.instances ?? 3 }, (_, i) => ({ name: `i${i}`, url: `http://10.0.0.${i + 1}:8000`, weight: 1, speed: 1 })),
  )
  const clock = createManualClock()
  const rows: LogRow[] = []
  const counted: string[] = []
  const pool: RouterPool = {
    name: 'm',
    models: ['m'],
    aliases: { nick: 'm' },
    adapters: ['lora'],
    policy: 'least-request',
    fallbackPolicy: 'random',
    explorationRatio: 0,
    requestUsage: true,
    virtual: false,
    ...change.pool,
  }
  const router = createRouter({
    pools: [pool],
    fleet,
    tokens: { estimate: (_pool, call) => Math.ceil(call.promptBytes / 4), learn: () => undefined },
    lengths: createRunningLength(),
    log: { append: (row) => void rows.push(row) },
    events: { settled: () => undefined, count: (what) => void counted.push(what) },
    clock,
    rng: createRng(5),
    textFeatures: true,
    retriesPerCall: 2,
    ...change.parts,
  })
  return { router, fleet, clock, rows, counted, pool, calls: () => rows.filter((row) => row.kind === 'call') }
}
