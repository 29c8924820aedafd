import { z } from 'zod'
import { BadBody } from './demand.ts'

/**
 * What can go wrong with an instance, as seen on a real vLLM 0.32 server:
 * - `ok`: nothing.
 * - `slow`: every engine step takes `factor` times as long.
 * - `hung`: the engine process stands still; health and metrics answer 200, calls hang, counters do not move.
 * - `engine-killed`: open streams get an error event and [DONE] under HTTP 200, /health is 503 for a second, then the port closes.
 * - `sigterm-silent`: SIGTERM by default: the listener closes at once, open streams fall silent and never end.
 * - `draining-abort`: SIGTERM with a shutdown timeout: streams drain, health stays 200, new calls get an empty 200 with 'abort'.
 * - `queue-full`: new calls get 503 without Retry-After.
 * - `status-500`: new calls get 500.
 * - `refuse`: the listener is closed; calls under way end well.
 * - `reset`: new calls have their connection reset before any byte.
 * - `cut`: streams break off (connection reset) after `afterTokens` tokens.
 * - `silent`: streams fall silent after `afterTokens` tokens.
 */
export const BEHAVIOURS = [
  'ok',
  'slow',
  'hung',
  'engine-killed',
  'sigterm-silent',
  'draining-abort',
  'queue-full',
  'status-500',
  'refuse',
  'reset',
  'cut',
  'silent',
] as const

export type BehaviourMode = (typeof BEHAVIOURS)[number]

/** Modes that one call alone can have, by the header `x-virtual-behaviour`. */
const PER_CALL: readonly BehaviourMode[] = [
  'ok',
  'hung',
  'engine-killed',
  'draining-abort',
  'queue-full',
  'status-500',
  'reset',
  'cut',
  'silent',
]

/** Tokens before a stream breaks where nothing else is said: enough to be in the middle of it. */
const DEFAULT_AFTER_TOKENS = 3

const shape = z.strictObject({
  mode: z.enum(BEHAVIOURS),
  factor: z.number().positive().optional(),
  afterTokens: z.number().int().min(0).optional(),
  forMs: z.number().positive().optional(),
})

export interface Behaviour {
  readonly mode: BehaviourMode
  /** How many times slower, for 'slow'; 3 by default. */
  readonly factor: number
  readonly afterTokens: number
  /** Back to 'ok' after so many real ms; undefined is until told otherwise. */
  readonly forMs?: number
}

export const WELL_BEHAVED: Behaviour = { mode: 'ok', factor: 1, afterTokens: DEFAULT_AFTER_TOKENS }

/** Reads the body of the behaviour endpoint. Throws `BadBody` with what is allowed. */
export function parseBehaviour(raw: unknown): Behaviour {
  const parsed = shape.safeParse(raw)
  if (!parsed.success) throw new BadBody(`${parsed.error.issues[0]?.message ?? 'invalid'}; modes: ${BEHAVIOURS.join(', ')}`, 'mode')
  const { mode, factor = mode === 'slow' ? 3 : 1, afterTokens = DEFAULT_AFTER_TOKENS, forMs } = parsed.data
  return { mode, factor, afterTokens, ...(forMs === undefined ? {} : { forMs }) }
}

/** The behaviour one call asks for by headers; undefined when it asks for none. Throws `BadBody` where a call cannot have that mode. */
export function behaviourOfCall(header: string | undefined, afterTokens: string | undefined): Behaviour | undefined {
  if (header === undefined) return undefined
  const mode = PER_CALL.find((m) => m === header)
  if (!mode) throw new BadBody(`x-virtual-behaviour: one call can be ${PER_CALL.join(', ')}; got ${header}`)
  return { mode, factor: 1, afterTokens: afterTokens === undefined ? DEFAULT_AFTER_TOKENS : Number(afterTokens) }
}
