import type { ConfigParts } from './config.ts'
import { defaultVirtualFleet, VIRTUAL_MODEL } from './simulation/virtual-fleet.ts'

/**
 * Speeds of the embedded fleet's profiles: their decode rates at eight running calls of 500 tokens by the step law of
 * simulation.md, V100 = 1: (33 + 0.75e-3·4000) ÷ (9.15 + 3.7e-4·4000) = 36 ÷ 10.6 = 3.4.
 */
const SPEEDS: Readonly<Record<string, number>> = { 'v100-llama-2-7b': 1, 'a100-llama-2-7b': 3.4 }

/** How many instances the embedded fleet has. */
export const EMBEDDED_COUNT = defaultVirtualFleet.length

/** What runs where there is no phasewise.yaml: the virtual fleet, with the addresses that its instances listen on. */
export function embeddedConfig(urls: readonly string[]): ConfigParts['input'] {
  const instances = defaultVirtualFleet.map(({ name, profile }, i) => ({
    name,
    speed: SPEEDS[profile] ?? 1,
    url: urls[i] ?? 'http://127.0.0.1:1',
  }))
  return {
    path: 'embedded default',
    value: { gateways: { openai: { debugHeaders: true } }, pools: [{ name: VIRTUAL_MODEL, engine: 'virtual', instances }] },
  }
}
