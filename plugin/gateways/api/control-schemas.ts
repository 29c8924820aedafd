import { z } from 'zod'

/** What the control side of the API takes and gives: the kill switch, a real call to one instance, and what other policies would have chosen. */

const NAME_CHARS_MAX = 128
/** Rows that the log keeps per call, with room to spare. */
const ROWS_MAX = 64
const COLUMNS_MAX = 256

export const switchRequest = z
  .strictObject({ off: z.boolean().describe('true: every pool is placed by its fallback policy, nothing explored, nothing held.') })
  .meta({ id: 'SwitchRequest' })

export const switchAnswer = z
  .object({
    off: z.boolean(),
    pools: z.array(z.object({ name: z.string(), policy: z.string().describe('What places its calls now.') })),
  })
  .meta({ id: 'SwitchAnswer' })
export type SwitchAnswer = z.infer<typeof switchAnswer>

export const tryAnswer = z
  .object({
    works: z.boolean(),
    status: z.number().int().nullable().describe('The HTTP status; null where no answer came.'),
    elapsedMs: z.number(),
    says: z.string().describe('What came, in words.'),
  })
  .meta({ id: 'TryAnswer' })
export type TryAnswer = z.infer<typeof tryAnswer>

const row = z.array(z.number().nullable()).max(COLUMNS_MAX).describe('In the order of the columns; null is unknown.')

export const whatIfRequest = z
  .strictObject({
    pool: z.string().min(1).max(NAME_CHARS_MAX),
    featureHash: z.string().min(1).max(NAME_CHARS_MAX).describe('The column list that the rows are in.'),
    call: row,
    candidates: z
      .array(z.strictObject({ instance: z.string().min(1).max(NAME_CHARS_MAX), features: row }))
      .min(1)
      .max(ROWS_MAX),
    decided: z
      .strictObject({
        policy: z.string().min(1).max(NAME_CHARS_MAX),
        version: z.string().min(1).max(NAME_CHARS_MAX).describe('Of the learned policy; "none" for a rule.'),
        costs: z.array(z.number().nullable()).max(ROWS_MAX).describe('What it weighed, one per candidate.'),
      })
      .optional()
      .describe('What decided then, where the candidates stand in its order, the chosen one first and the runner-up second.'),
  })
  .meta({ id: 'WhatIfRequest' })
export type WhatIfRequest = z.infer<typeof whatIfRequest>

export const whatIfAnswer = z
  .object({
    policies: z.array(
      z.object({
        policy: z.string(),
        instances: z.array(z.string()).describe('Those it wants most; several where it would draw among them.'),
        probability: z.number().min(0).max(1).describe('With which it wants each of them.'),
        unknown: z.string().optional().describe('Why the logged row does not tell what it would have done.'),
        about: z
          .boolean()
          .optional()
          .describe('It weighs calls in flight one by one, which the row does not hold: as many like their mean stood for them.'),
      }),
    ),
    expected: z
      .array(
        z.object({
          instance: z.string(),
          ttftMs: z.number().nullable().describe('From the placement to the first token; null unknown.'),
          e2eMs: z.number().nullable().describe('From the placement to the last token.'),
          othersMs: z.number().nullable().describe('How much later the calls in flight there would have ended, summed.'),
        }),
      )
      .optional()
      .describe('What each candidate would have made of the call, by the look-ahead of the policy "impact".'),
    because: z
      .object({
        columns: z.array(z.string()).describe('At most three candidate features, the strongest first.'),
        changes: z.boolean().describe("With the runner-up's values in them the choice would have been another."),
        readsCalls: z.boolean().describe('The policy weighs calls in flight one by one: inFlight stands for all of them.'),
      })
      .optional()
      .describe('Which features decided; absent where the policy that decided serves no more, or nothing can be said.'),
  })
  .meta({ id: 'WhatIfAnswer' })
export type WhatIfAnswer = z.infer<typeof whatIfAnswer>
