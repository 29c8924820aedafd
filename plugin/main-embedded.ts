import type { ConfigParts } from './config.ts'

/**
 * What runs where there is no phasewise.yaml: four virtual instances of two speeds. The speed is the ratio of decode rates of the two profiles at
 * eight running calls of 500 tokens: (33 + 0.75e-3·4000) ÷ (9.15 + 3.7e-4·4000) ms = 3.4.
 */
export const EMBEDDED_INSTANCES = [
  { name: 'a100-0', profile: 'a100-llama-2-7b', speed: 3.4 },
  { name: 'a100-1', profile: 'a100-llama-2-7b', speed: 3.4 },
  { name: 'v100-0', profile: 'v100-llama-2-7b', speed: 1 },
  { name: 'v100-1', profile: 'v100-llama-2-7b', speed: 1 },
] as const

/** Model name that the embedded fleet serves. */
export const EMBEDDED_MODEL = 'llama-2-7b'

/** The embedded default as configuration input, with the addresses that the virtual instances listen on. */
export function embeddedConfig(urls: readonly string[]): ConfigParts['input'] {
  return {
    path: 'embedded default',
    value: {
      pools: [
        {
          name: EMBEDDED_MODEL,
          engine: 'virtual',
          instances: EMBEDDED_INSTANCES.map(({ name, speed }, i) => ({ name, speed, url: urls[i] ?? 'http://127.0.0.1:1' })),
        },
      ],
    },
  }
}
