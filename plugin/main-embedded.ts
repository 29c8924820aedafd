import type { ConfigParts } from './config.ts'
import { defaultVirtualFleet, VIRTUAL_MODEL } from './simulation/virtual-fleet.ts'

/**
 * Speeds of the embedded fleet's profiles: calls per second each completes when it always has calls waiting, V100 = 1; measured on the
 * five-task mix by simulation/saturation.ts: 34.5 ÷ 7.2 = 4.8.
 */
const SPEEDS: Readonly<Record<string, number>> = { 'v100-llama-2-7b': 1, 'a100-llama-2-7b': 4.8 }

/** How many instances the embedded fleet has. */
export const EMBEDDED_COUNT = defaultVirtualFleet.length

/** What runs where there is no phasewise.yaml: the virtual fleet, with the addresses that its instances listen on. */
export function embeddedConfig(urls: readonly string[]): ConfigParts['input'] {
  const instances = defaultVirtualFleet.map(({ name, profile }, i) => ({
    name,
    profile,
    speed: SPEEDS[profile] ?? 1,
    url: urls[i] ?? 'http://127.0.0.1:1',
  }))
  return {
    path: 'embedded default',
    value: {
      gateways: { openai: { debugHeaders: true }, placements: { loopbackWithoutKey: true } },
      pools: [{ name: VIRTUAL_MODEL, engine: 'virtual', instances }],
    },
  }
}
