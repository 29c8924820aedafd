import { z } from 'zod'

const line = z.object({ baseMs: z.number(), perTokenMs: z.number() })
/** A profile as plain JSON; further fields, such as where it was fitted, are left out. */
export const PROFILE_SCHEMA = z.object({
  name: z.string(),
  label: z.string(),
  law: z.object({
    dense: z.array(line).min(1),
    head: z.object({ baseMs: z.number(), perCallMs: z.number() }),
    decode: z.object({ baseMs: z.number(), perCallMs: z.number(), perContextTokenMs: z.number() }),
    prefill: z.object({ baseMs: z.number(), perTokenMs: z.number(), perCachedProductMs: z.number(), perSquareMs: z.number() }),
  }),
  order: z.enum(['v0', 'v1']),
  kvBlocks: z.number().int().positive(),
  seats: z.number().int().positive(),
  budgetTokens: z.number().int().positive(),
  prefixCache: z.boolean(),
  admissionKvRatio: z.number().positive().max(1),
})
