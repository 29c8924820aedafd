import { z } from 'zod'

/** How far a pool's policy is obeyed. */
export const MODES = ['off', 'shadow', 'canary', 'on'] as const
export type Mode = (typeof MODES)[number]

/** off: the fallback policy places alone; shadow: it does, and the policy is asked beside it; canary: the policy has a share of the calls; on: all. */
export const modeSchema = z.enum(MODES, 'allowed are off, shadow, canary and on').default('on')
