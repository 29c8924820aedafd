import { createManualClock, systemClock } from '../../plugin/clock.ts'
import { createFleet, type Fleet } from '../../plugin/fleet/fleet.ts'
import { FLEET_DEFAULTS } from '../../plugin/fleet/options.ts'
import { createEnvoyPicker, type EnvoyPicker, type EnvoyPickerParts } from '../../plugin/gateways/envoy/picker.ts'
import type { CallRow, LogRow } from '../../plugin/log/rows.ts'
import { createRunningLength } from '../../plugin/prediction/running-length.ts'
import { createRng } from '../../plugin/rng.ts'
import { createRouter, type LiveRouter, type RouterPool } from '../../plugin/router-place.ts'

/** The picker on a free port, over a real router and a real fleet whose log a test can read. */
export interface PickerBench {
  readonly picker: EnvoyPicker
  readonly url: string
  readonly fleet: Fleet
  readonly router: LiveRouter
  readonly counted: string[]
  calls(): readonly CallRow[]
  /** Resolves with all rows once there are `count` of them. */
  settled(count: number): Promise<readonly CallRow[]>
  /** What an instance's /metrics says. */
  scrape(name: string, values: { readonly queue: number; readonly kv: number; readonly adapters?: string }): void
}

export interface PickerBenchOptions {
  /** Urls of the instances, named i0, i1, …; three at 192.168.1.1 to 3 by default. */
  readonly urls?: readonly string[]
  readonly pool?: Partial<RouterPool>
  readonly parts?: Partial<EnvoyPickerParts>
}

export async function createPickerBench(options: PickerBenchOptions = {}): Promise<PickerBench> {
  const urls = options.urls ?? [1, 2, 3].map((n) => `http://192.168.1.${n}:8000`)
  const fleet = createFleet({ options: FLEET_DEFAULTS })
  fleet.reconcile(
    'm',
    urls.map((url, i) => ({ name: `i${i}`, url, weight: 1, speed: 1 })),
  )
  const rows: LogRow[] = []
  const counted: string[] = []
  const waiting = new Set<() => void>()
  const calls = (): CallRow[] => rows.filter((row) => row.kind === 'call')
  const router = createRouter({
    pools: [poolOf(options.pool)],
    fleet,
    tokens: { estimate: (_pool, call) => Math.ceil(call.promptBytes / 4), learn: () => undefined },
    lengths: createRunningLength(),
    log: {
      append(row) {
        rows.push(row)
        for (const look of waiting) look()
      },
    },
    events: { settled: () => undefined, count: (what) => void counted.push(what) },
    clock: systemClock,
    rng: createRng(5),
    textFeatures: true,
    retriesPerCall: 2,
  })
  const picker = await createEnvoyPicker({
    listen: { host: '127.0.0.1', port: 0 },
    router,
    instanceUrls: () => fleet.instances('m').map(({ url }) => url),
    clock: systemClock,
    textFeatures: true,
    bodyLimitBytes: 1_000_000,
    holdLimitMs: 5_000,
    fallbacks: 0,
    scores: false,
    debugHeaders: false,
    telemetry: {},
    count: (what) => void counted.push(what),
    warn: (text) => void counted.push(text),
    ...options.parts,
  })
  return {
    picker,
    url: `http://127.0.0.1:${picker.port}`,
    fleet,
    router,
    counted,
    calls,
    settled: (count) =>
      new Promise((resolve) => {
        const look = (): void => {
          if (calls().length < count) return
          waiting.delete(look)
          resolve(calls())
        }
        waiting.add(look)
        look()
      }),
    scrape(name, { queue, kv, adapters }) {
      const instance = fleet.instance('m', name)
      if (!instance) throw new Error(`there is no instance ${name}`)
      const nowMs = systemClock.nowMs()
      fleet.applyScrape(instance, fleet.beginScrape(instance, nowMs), metricsText(queue, kv, adapters), nowMs)
    },
  }
}

/** /metrics as vLLM tells it. */
export function metricsText(queue: number, kv: number, adapters = ''): string {
  return [
    `vllm:num_requests_waiting{model_name="m"} ${queue}`,
    'vllm:num_requests_running{model_name="m"} 0',
    `vllm:kv_cache_usage_perc{model_name="m"} ${kv}`,
    `vllm:lora_requests_info{max_lora="4",running_lora_adapters="${adapters}",waiting_lora_adapters=""} ${createManualClock().nowUnixMs() / 1_000}`,
    '',
  ].join('\n')
}

function poolOf(change: Partial<RouterPool> = {}): RouterPool {
  return {
    name: 'm',
    models: ['m'],
    aliases: {},
    adapters: ['foo', 'bar', 'T'],
    policy: 'weighted',
    weights: { queue: 1, kv: 1, prefix: 1, adapter: 1 },
    fallbackPolicy: 'random',
    explorationRatio: 0,
    requestUsage: false,
    virtual: false,
    ...change,
  }
}
