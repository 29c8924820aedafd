import { z } from 'zod'

/** How far a pool's policy is obeyed. */
export const MODES = ['off', 'observe', 'share', 'on'] as const
export type Mode = (typeof MODES)[number]

/** off: the fallback policy places alone; observe: it does, and the policy is asked beside it; share: the policy has a share of the calls; on: all. */
export const modeSchema = z.enum(MODES, 'allowed are off, observe, share and on').default('on')

/**
 * What these were called before shadow and canary came to mean trials of trained models: a canary gets blocks of time, not of calls. Old files and stored settings
 * are read as they are meant.
 */
const MODES_BEFORE: Readonly<Record<string, Mode>> = { shadow: 'observe', canary: 'share' }

/** The raw configuration in today's words, and what was said in earlier ones. The given value is left as it is. */
export function inPresentWords(raw: unknown): { readonly value: unknown; readonly renamed: readonly string[] } {
  const pools = isRecord(raw) ? raw.pools : undefined
  if (!isRecord(raw) || !Array.isArray(pools)) return { value: raw, renamed: [] }
  const renamed: string[] = []
  const present = pools.map((pool: unknown, i) => {
    if (!isRecord(pool)) return pool
    const { canary, ...rest } = pool
    const mode = typeof pool.mode === 'string' && Object.hasOwn(MODES_BEFORE, pool.mode) ? MODES_BEFORE[pool.mode] : undefined
    if (mode !== undefined) renamed.push(`pools.${i}.mode: ${JSON.stringify(pool.mode)} is called ${JSON.stringify(mode)} now`)
    if (canary === undefined) return mode === undefined ? pool : { ...pool, mode }
    renamed.push(`pools.${i}.canary is called share now`)
    return { share: canary, ...rest, ...(mode === undefined ? {} : { mode }) }
  })
  return renamed.length === 0 ? { value: raw, renamed } : { value: { ...raw, pools: present }, renamed }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)
