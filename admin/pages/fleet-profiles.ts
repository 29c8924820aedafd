import { z } from 'zod'
import type { Control } from '../../plugin/log/control.ts'
import type { Model } from '../answer.ts'
import { formatCount, formatNumber, formatPercent } from '../format.ts'

/** Null where the prior stayed: nothing was measured. */
const coefficient = z.object({ value: z.number().nullable(), error: z.number().nullable() })
/** What a night's verdict on profiles holds of each instance. */
const poolNumbers = z.object({
  pool: z.string(),
  instances: z.array(
    z.object({
      instance: z.string(),
      state: z.enum(['fitted', 'own', 'prior']),
      calls: z.number(),
      heldOut: z.object({ ttft: z.number(), tpot: z.number(), e2e: z.number() }).optional(),
      coefficients: z.object({
        floorMs: coefficient,
        densePerTokenMs: coefficient,
        perPromptTokenMs: coefficient,
        perCallMs: coefficient,
        perContextTokenMs: coefficient,
      }),
      limits: z.object({ kvBlocks: z.number(), seats: z.number() }),
    }),
  ),
})
const numbers = poolNumbers.extend({ others: z.array(poolNumbers).optional() })

const STATES = {
  fitted: { text: 'learned with its type', tone: 'good' },
  own: { text: 'learned alone', tone: 'good' },
  prior: { text: 'too few calls', tone: 'warn' },
} as const
/** Tokens of a KV block, as the profiles count them. */
const BLOCK_TOKENS = 16

/**
 * What was learned of the pool's instances from logged times, and how well it plays calls it was not fitted on: of the profiles that
 * serve, else of the newest ones. Undefined where no night has learned any.
 */
export function learnedProfiles({ models }: Control, pool: string): Model | undefined {
  const known = models.list('profile')
  const serving = models.withAlias('profile', 'champion')
  for (const model of serving ? [serving, ...known] : known) {
    const night = readNumbers(models.verdicts(model.modelId)[0]?.numbers)
    const found = night && [night, ...(night.others ?? [])].find((one) => one.pool === pool)
    if (!found) continue
    return {
      version: model.version,
      href: `/models/${model.modelId}`,
      serves: model.modelId === serving?.modelId,
      rows: found.instances.map((one) => ({
        name: one.instance,
        state: STATES[one.state],
        calls: formatCount(one.calls),
        rest: withError(one.coefficients.floorMs),
        prefill: withError(scaled(one.coefficients.densePerTokenMs, one.coefficients.perPromptTokenMs)),
        decoding: withError(one.coefficients.perCallMs),
        context: withError(scaled(one.coefficients.perContextTokenMs)),
        kv: formatCount(one.limits.kvBlocks * BLOCK_TOKENS),
        seats: formatCount(one.limits.seats),
        ttftOff: one.heldOut && signed(one.heldOut.ttft),
        e2eOff: one.heldOut && signed(one.heldOut.e2e),
      })),
    }
  }
  return undefined
}

function readNumbers(text: string | undefined): z.infer<typeof numbers> | undefined {
  if (text === undefined) return undefined
  const read = numbers.safeParse(JSON.parse(text))
  return read.success ? read.data : undefined
}

type Figure = z.infer<typeof coefficient>

/** Per thousand tokens, of one or more coefficients that add up; their errors as if independent. */
function scaled(...parts: readonly Figure[]): Figure {
  let [value, square]: [number | null, number | null] = [0, 0]
  for (const part of parts) {
    value = value === null || part.value === null ? null : value + 1_000 * part.value
    square = square === null || part.error === null ? null : square + (1_000 * part.error) ** 2
  }
  return { value, error: square === null ? null : Math.sqrt(square) }
}

/** With an error so many times itself the log did not tell the figure, and the error's own figure would say nothing. */
const UNTOLD_TIMES = 10

function withError({ value, error }: Figure): string {
  const text = formatNumber(value) ?? '–'
  if (value !== null && value > 0 && error !== null && error > UNTOLD_TIMES * value) return `${text}, unsure`
  return value !== null && error !== null && error > 0 ? `${text} ± ${formatNumber(error)}` : text
}

const signed = (ratio: number): string => `${ratio > 0 ? '+' : ''}${formatPercent(ratio)}`
