import { z } from 'zod'

/**
 * What the placement API takes and gives. These schemas check every request, and the OpenAPI document is made from them: what they do not
 * say is not accepted.
 */

const SCOPES = ['place', 'read', 'control'] as const
/** What a key may do: ask for placements and report outcomes; see the fleet; change it. */
export type Scope = (typeof SCOPES)[number]

/** Longer names are no names; the log keeps them per call. */
const NAME_CHARS_MAX = 128
const URL_CHARS_MAX = 2_048
const MODEL_CHARS_MAX = 256
/** A fleet beyond this is placed without naming candidates. */
const CANDIDATES_MAX = 1_024
/** As many blocks as `call/prefix.ts` makes of the longest prompt. */
const PREFIX_BLOCKS_MAX = 4_096
const TEXT_FEATURES_MAX = 64
/** What a batch holds at most; at 50 ms between batches that is 20,000 outcomes a second from one caller. */
const BATCH_MAX = 1_000
const DAY_MS = 86_400_000
const TOKENS_MAX = 100_000_000

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not reach a log or a label
const PRINTABLE = /^[^\u0000-\u001f\u007f-\u009f]+$/
const text = (maxChars: number) => z.string().min(1).max(maxChars).regex(PRINTABLE, 'allowed are characters that can be printed')
const name = text(NAME_CHARS_MAX)
const ms = z.number().min(0).max(DAY_MS)
const tokens = z.number().int().min(0).max(TOKENS_MAX)
const status = z.number().int().min(100).max(599)

/** The API that the call speaks; guessed from its body when not told. */
export const api = z.enum(['openai-chat', 'openai-completions', 'openai-responses', 'openai-embeddings', 'anthropic-messages'])

const candidate = z
  .union([
    text(URL_CHARS_MAX),
    z.strictObject({
      id: name.describe("The caller's own name for it; answers name it so."),
      url: text(URL_CHARS_MAX).optional().describe("The instance's address; where absent, `id` is the instance's name."),
    }),
  ])
  .describe("An instance that may take the call: its name, its address, or the caller's id for it with its address.")

const hints = z
  .strictObject({
    application: name.optional(),
    tenant: name.optional(),
    task: name.optional(),
    priority: z.number().min(-1_000_000).max(1_000_000).optional().describe('Higher goes first; 0 by default.'),
    sloTtftMs: z.number().positive().max(DAY_MS).optional(),
    sloTpotMs: z.number().positive().max(DAY_MS).optional(),
  })
  .describe('Who calls, and how fast it should be.')

const features = z
  .strictObject({
    promptBytes: z
      .number()
      .int()
      .min(0)
      .max(2 ** 40),
    promptTokens: tokens.optional().describe('Exact, where the caller counts them.'),
    stream: z.boolean().optional(),
    maxTokens: tokens.optional(),
    temperature: z.number().min(0).max(100).optional(),
    answers: z.number().int().min(1).max(100_000).optional(),
    stops: z.number().int().min(0).max(1_000).optional(),
    tools: z.number().int().min(0).max(100_000).optional(),
    turns: z.number().int().min(0).max(1_000_000).optional(),
    responseFormat: z.enum(['text', 'json', 'schema']).optional(),
    systemHash: z
      .number()
      .int()
      .min(0)
      .max(2 ** 32 - 1)
      .optional(),
    prefixBlocks: z
      .array(z.string().regex(/^[0-9a-f]{16}$/, 'allowed are 16 hexadecimal digits'))
      .max(PREFIX_BLOCKS_MAX)
      .optional()
      .describe('Chained 64-bit hashes of the prompt, block by block, so that calls that begin alike share the first ones.'),
    textFeatures: z
      .array(
        z
          .number()
          .int()
          .min(0)
          .max(2 ** 32 - 1),
      )
      .max(TEXT_FEATURES_MAX)
      .optional()
      .describe('Hashed words of the last user message.'),
  })
  .describe('What placement reads of a call, for callers who do not hand over its body.')

const failure = z
  .strictObject({
    kind: z.enum(['connect', 'reset', 'full', 'status', 'aborted', 'stalled', 'timed out']),
    status: status.optional(),
    error: text(200).optional(),
  })
  .describe('Why an attempt at an instance failed.')
export type FailureReport = z.infer<typeof failure>

export const placeRequest = z
  .strictObject({
    model: text(MODEL_CHARS_MAX).optional().describe("The model's name; the body's own where absent."),
    api: api.optional(),
    body: z
      .looseObject({})
      .optional()
      .describe("The call's body as the instance will get it. It is read for counts and hashes and dropped; nothing of it is stored."),
    features: features.optional(),
    candidates: z
      .array(candidate)
      .min(1)
      .max(CANDIDATES_MAX)
      .optional()
      .describe('Only these may take the call; all of the pool where absent.'),
    hints: hints.optional(),
    key: name.optional().describe("The caller's own name for the call. Asking again with it gives the same placement, not another."),
    failure: failure.optional().describe('With `key`: the attempt so far failed, and this asks for a further one of the same call.'),
    dryRun: z.boolean().optional().describe('Decide, but leave no trace: nothing is booked or logged.'),
    client: z.enum(['api', 'litellm']).optional().describe('Which gateway asks; kept with the call.'),
  })
  .meta({ id: 'PlaceRequest' })
export type PlaceRequest = z.infer<typeof placeRequest>

const namedFeatures = z.record(z.string(), z.number().nullable())

const placedInstance = z.object({
  name: z.string(),
  pool: z.string(),
  url: z.string(),
  candidate: z.string().optional().describe('As the request named it.'),
})
export type PlacedInstance = z.infer<typeof placedInstance>

export const placed = z
  .object({
    held: z.literal(false),
    placementId: z.string().nullable().describe('Null for a dry run.'),
    attempt: z.number().int().min(1),
    model: z.string().describe("The model's name at the instance."),
    instance: placedInstance,
    fallbacks: z.array(placedInstance).describe('To be tried in this order when the instance fails before its first byte.'),
    policy: z.string(),
    reason: z.string(),
    propensity: z.number().min(0).max(1).describe('Probability with which this instance was chosen.'),
    predicted: z.object({
      promptTokens: z.number(),
      outputTokens: z.number().optional(),
      ttftMs: z.number().optional(),
      e2eMs: z.number().optional(),
    }),
    unknownCandidates: z.array(z.string()).describe('Candidates that are no instance here; they were left out.'),
    weighed: z
      .object({
        call: namedFeatures,
        candidates: z
          .array(z.object({ instance: z.string(), cost: z.number().nullable(), features: namedFeatures }))
          .describe('The chosen first, the runner-up second.'),
      })
      .optional()
      .describe('Of a dry run: what the policy saw, by name; null is unknown.'),
  })
  .meta({ id: 'Placed' })
export type Placed = z.infer<typeof placed>

export const held = z
  .object({
    held: z.literal(true),
    placementId: z.string(),
    retryAfterMs: z.number().describe('Ask GET /v1/placements/{placementId} after this long.'),
  })
  .meta({ id: 'Held' })
export type Held = z.infer<typeof held>

export const placeAnswer = z.union([placed, held]).meta({ id: 'PlaceAnswer' })

const report = {
  kind: z.enum(['completed', 'instance error', 'client gone', 'timed out']),
  status: status.optional(),
  error: text(200).optional().describe('A short cause, e.g. "cache hit".'),
  failure: failure.optional().describe("With 'instance error': what the instance did."),
  ttftMs: ms.optional().describe('From asking for the placement to the first token; not for an answer that is not streamed.'),
  e2eMs: ms.optional().describe('From asking for the placement to the last byte; measured here where absent.'),
  tpotMs: ms.optional(),
  promptTokens: tokens.optional(),
  cachedPromptTokens: tokens.optional(),
  outputTokens: tokens.optional(),
  tokensFrom: z.enum(['usage', 'chunks']).optional().describe("'usage' (told by the instance) where absent."),
  censored: z.boolean().optional().describe('The answer was cut: its length is a lower bound.'),
  finishReason: text(64).optional(),
  servedBy: text(URL_CHARS_MAX)
    .optional()
    .describe("Where the call was really sent: the candidate's id, or the instance's name or address."),
}

export const outcomeReport = z.strictObject(report).meta({ id: 'OutcomeReport' })
export type OutcomeReport = z.infer<typeof outcomeReport>

const NAME_ONCE = { message: 'name the call by placementId or by key, one of them', path: ['placementId'] }
function isNamedOnce(one: { readonly placementId?: string | undefined; readonly key?: string | undefined }): boolean {
  return (one.placementId === undefined) !== (one.key === undefined)
}

export const outcomeBatch = z
  .strictObject({
    outcomes: z
      .array(z.strictObject({ placementId: name.optional(), key: name.optional(), ...report }).refine(isNamedOnce, NAME_ONCE))
      .min(1)
      .max(BATCH_MAX),
  })
  .meta({ id: 'OutcomeBatch' })

/** How calls are getting on, so that placement knows who waits and who runs before they end. */
export const progressBatch = z
  .strictObject({
    calls: z
      .array(
        z
          .strictObject({
            placementId: name.optional(),
            key: name.optional(),
            firstTokenAgoMs: ms.describe('How long ago the first token came.'),
            outputTokens: tokens.optional().describe('Produced so far.'),
          })
          .refine(isNamedOnce, NAME_ONCE),
      )
      .min(1)
      .max(BATCH_MAX),
  })
  .meta({ id: 'ProgressBatch' })
export type ProgressReport = Omit<z.infer<typeof progressBatch>['calls'][number], 'placementId' | 'key'>

/** What became of a progress report: taken in, or of a call that has ended, is held, or is not known. */
export const progressState = z.enum(['noted', 'not running'])
export type ProgressState = z.infer<typeof progressState>
export const progressAnswer = z.object({ results: z.array(z.object({ state: progressState })) }).meta({ id: 'ProgressAnswer' })

/** What became of a report: booked now, booked before, or of a call that is not known (any more). */
export const settledState = z.enum(['settled', 'repeated', 'unknown placement'])
export type SettledState = z.infer<typeof settledState>
export const settledAnswer = z.object({ state: settledState, placementId: z.string() }).meta({ id: 'SettledAnswer' })
export const batchAnswer = z.object({ results: z.array(z.object({ state: settledState })) }).meta({ id: 'BatchAnswer' })

const gauge = z.number().nullable().describe('Null: unknown.')
const fleetInstance = z.object({
  name: z.string(),
  url: z.string(),
  state: z.string(),
  stateReason: z.string().optional(),
  speed: z.number(),
  weight: z.number(),
  inFlight: z.number().int(),
  placed: z.number().int(),
  waiting: gauge,
  running: gauge,
  kvUsageRatio: gauge,
  foreignInFlight: gauge,
  scrapeAgeMs: gauge,
  expectedShareRatio: z.number(),
})
export const fleetAnswer = z
  .object({ pools: z.array(z.object({ name: z.string(), models: z.array(z.string()), instances: z.array(fleetInstance) })) })
  .meta({ id: 'Fleet' })
export type FleetAnswer = z.infer<typeof fleetAnswer>

export const healthAnswer = z
  .object({
    ready: z.boolean().describe('At least one instance may take calls.'),
    version: z.string(),
    open: z.number().int().describe('Placements not settled yet.'),
    held: z.number().int(),
  })
  .meta({ id: 'Health' })

export const drainRequest = z.strictObject({ drained: z.boolean() }).meta({ id: 'DrainRequest' })
export const drainAnswer = z.object({ intentId: z.number().int() }).meta({ id: 'DrainAnswer' })

export const problem = z
  .object({
    type: z.string().describe('A URN that names the kind of problem.'),
    title: z.string(),
    status: z.number().int(),
    detail: z.string(),
    errors: z
      .array(z.object({ pointer: z.string().describe('JSON pointer (RFC 6901) to the field at fault.'), detail: z.string() }))
      .optional(),
    retryAfterMs: z.number().optional(),
    unknownCandidates: z.array(z.string()).optional(),
  })
  .meta({ id: 'Problem' })
export type ProblemBody = z.infer<typeof problem>
