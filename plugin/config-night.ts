import { Cron } from 'croner'
import { z } from 'zod'

const number = (least: number, most: number) =>
  z
    .number(`allowed is a number from ${least} to ${most}`)
    .min(least, `allowed is ${least} to ${most}`)
    .max(most, `allowed is ${least} to ${most}`)

const ratio = number(0.01, 0.5)

/** A zone that this machine's own calendar knows. */
function isZone(zone: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: zone }).resolvedOptions().timeZone.length > 0
  } catch {
    // Whatever was wrong with it: it is none.
    return false
  }
}

function isCron(pattern: string): boolean {
  try {
    return pattern === 'off' || new Cron(pattern, { paused: true }).nextRun() !== null
  } catch {
    // The remedy is in the schema's sentence.
    return false
  }
}

const canary = z
  .strictObject({
    // Of the blocks of time, not of the calls.
    share: ratio.default(0.25),
    // 0: as suits the calls' length, see plugin/placement/switchback.ts
    blockMs: number(0, 86_400_000).default(0),
    washoutMs: number(0, 86_400_000).default(0),
    // 0: as many as the promised gain needs to be seen.
    blocks: z.int().min(0).max(100_000).default(0),
    promote: z.boolean('allowed is true or false').default(false),
    // Virtual fleets that run faster than real say so, and the guard's times follow.
    timeFactor: number(0.01, 1_000).default(1),
  })
  .superRefine(({ blockMs, washoutMs }, context) => {
    if (blockMs > 0 && washoutMs >= blockMs)
      context.addIssue({
        code: 'custom',
        path: ['washoutMs'],
        message: `allowed is less than the block of ${blockMs} ms, or 0: as suits the calls`,
      })
  })
  .prefault({})

/** What a night's policy is searched for; the limits count where it is the share of calls in time. */
const objective = z
  .strictObject({
    kind: z.enum(['latency', 'slo'], 'allowed is latency or slo').default('latency'),
    // Common figures of interactive service, as simulation/scenario/score.ts has them.
    ttftMs: number(1, 3_600_000).default(2_000),
    perTokenMs: number(0.1, 60_000).default(100),
    // Times the prices of tails as they ship (learning/policy-objective.ts); 0 lets tails pay for the mean.
    tailWeight: number(0, 100).default(1),
  })
  .prefault({})

/** The night shift: when it trains, from how much log, and what it does with what it made. */
export const nightSchema = z
  .strictObject({
    schedule: z
      .string('allowed is "off" or a cron expression such as "0 3 * * *", in quotation marks')
      .refine(
        isCron,
        'allowed is "off" or a cron expression that comes due some day: minute, hour, day, month, weekday, such as "0 3 * * *"',
      )
      .default('0 3 * * *'),
    timeZone: z
      .string('allowed is a time zone such as UTC or Europe/Berlin')
      .refine(isZone, 'allowed is a time zone such as UTC or Europe/Berlin')
      .default('UTC'),
    jitterMinutes: number(0, 720).default(10),
    days: number(0.001, 365).default(7),
    heldOut: ratio.default(0.25),
    generations: z.int().min(1).max(10_000).default(40),
    seed: z.int().min(0).default(1),
    objective,
    afterwards: z.enum(['register', 'shadow', 'canary'], 'allowed is register, shadow or canary').default('register'),
    canary,
  })
  .prefault({})

/** The section as it is after reading. */
export type NightConfig = z.infer<typeof nightSchema>
