import { z } from 'zod'

/** Orders that a pool may hold calls in; 'auto' is kv-time, and only where every instance tells its KV capacity. */
const orders = ['auto', 'off', 'fcfs', 'shortest', 'priority', 'kv-time'] as const
const ORDERS = `allowed is ${orders.slice(0, -1).join(', ')} or ${orders.at(-1)}`

const atLeast = (least: number) => z.number(`allowed is a number, ${least} or more`).min(least, `allowed is ${least} or more`)
const share = z.number('allowed is a number from 0 to 1').min(0, 'allowed is 0 to 1').max(1, 'allowed is 0 to 1')

const details = z.strictObject({
  order: z.enum(orders, ORDERS).default('auto'),
  waitingMax: atLeast(0).optional(),
  reserve: share.optional(),
  agePerSecond: atLeast(0).optional(),
  maxMs: atLeast(1).optional(),
  maxCalls: atLeast(1).optional(),
  fairFloor: share.optional(),
})

/** How a pool holds calls: an order, or an order with its numbers. What is not set has the queue's own default. */
export const holdSchema = z
  .union([z.enum(orders), details], {
    error: `${ORDERS}, or {order: …} with waitingMax, reserve, agePerSecond, maxMs, maxCalls or fairFloor`,
  })
  .default('auto')
  .transform((value) => (typeof value === 'string' ? details.parse({ order: value }) : value))

/** The option as it is after reading. */
export type HoldConfig = z.infer<typeof holdSchema>
