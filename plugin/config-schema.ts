import { z } from 'zod'
import { adminSchema } from './config-admin.ts'
import { holdSchema } from './config-hold.ts'
import { modeSchema } from './config-mode.ts'
import { nightSchema } from './config-night.ts'

/** What phasewise.yaml may say: shapes, defaults, and the sentence that each mistake is answered with. */
export interface Listen {
  readonly host: string
  readonly port: number
}

const LOOPBACK = new Set(['127.0.0.1', '::1', 'localhost'])

/** Only this machine can reach the address. */
export const isLoopback = (host: string): boolean => LOOPBACK.has(host) || host.startsWith('127.')

const listen = (standard: string) =>
  z
    .union([z.string(), z.number()], { error: 'allowed is "host:port", a port number, or "off"' })
    .default(standard)
    .transform((value, context): Listen | undefined => {
      if (value === 'off') return undefined
      const match = /^(?:(\[[^\]]+\]|[^:]+):)?(\d+)$/.exec(String(value))
      const port = Number(match?.[2])
      if (match && port <= 65_535) return { host: (match[1] ?? '127.0.0.1').replace(/^\[|\]$/g, ''), port }
      context.addIssue({ code: 'custom', message: 'allowed is "host:port" (port 0 to 65535), a port number, or "off"' })
      return z.NEVER
    })

const ms = (standard: number, least = 0) =>
  z.number(`allowed is a number of milliseconds, ${least} or more`).min(least, `allowed is ${least} ms or more`).default(standard)
const ratio = (standard: number) =>
  z.number('allowed is a number from 0 to 1').min(0, 'allowed is 0 to 1').max(1, 'allowed is 0 to 1').default(standard)
const name = z.string('allowed is a text').regex(/^[\w.:/@-]{1,128}$/, 'allowed are 1 to 128 letters, digits and . _ : / @ -; rename it')

/** A secret never stands in the file: it is named by environment variable or file. */
export const secretSchema = z.union([z.strictObject({ env: z.string().min(1) }), z.strictObject({ file: z.string().min(1) })], {
  error: 'allowed is {env: NAME} or {file: PATH}; keep the secret itself out of this file',
})

const url = z.string('allowed is an http(s) address').transform((value, context) => {
  try {
    const parsed = new URL(value)
    if (/^https?:$/.test(parsed.protocol)) return value.replace(/\/+$/, '').replace(/\/v1$/, '')
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause
  }
  context.addIssue({ code: 'custom', message: 'allowed is an http(s) address such as http://10.0.0.5:8000' })
  return z.NEVER
})

/** One instance as the file names it. */
export const instanceSchema = z.strictObject({
  name: name.optional(),
  url,
  weight: z.number('allowed is a number above 0').positive('allowed is above 0; to send nothing there, drain it').default(1),
  speed: z.number('allowed is a number above 0').positive('allowed is above 0; 1 is the reference').default(1),
  profile: name.optional(),
  apiKey: secretSchema.optional(),
  caFile: z.string().optional(),
  /** The name its certificate is for, where the url holds an address. */
  serverName: z.string().optional(),
})

/** What a file of instances (`instancesFile`) holds: a list of these. */
export const instanceListSchema = z.array(instanceSchema, 'allowed is a list of instances, each with a url')

const engine = z.enum(
  ['vllm', 'sglang', 'trtllm', 'tgi', 'llama.cpp', 'virtual', 'other'],
  'allowed is vllm, sglang, trtllm, tgi, llama.cpp, virtual or other',
)

const pool = z
  .strictObject({
    name,
    models: z.array(name).optional(),
    aliases: z.record(z.string(), name).default({}),
    adapters: z.array(name).default([]),
    engine: engine.default('vllm'),
    policy: name.default('least-request-speed'),
    mode: modeSchema,
    share: ratio(0.1),
    weights: z.strictObject({ queue: z.number(), kv: z.number(), prefix: z.number(), adapter: z.number() }).partial().optional(),
    fallbackPolicy: name.default('least-request'),
    exploration: ratio(0.01),
    hold: holdSchema,
    enginePriority: z.boolean('allowed is true or false').default(false),
    profile: name.optional(),
    requestUsage: z.boolean('allowed is true or false').optional(),
    instances: z.array(instanceSchema).default([]),
    instancesFile: z.string().optional(),
    dns: z
      .strictObject({
        host: z.string().min(1, 'allowed is a host name'),
        port: z.number().int().min(1).max(65_535),
        scheme: z.enum(['http', 'https']).default('http'),
        refreshMs: ms(10_000, 500),
        apiKey: secretSchema.optional(),
        caFile: z.string().optional(),
      })
      .optional(),
  })
  .superRefine((value, context) => {
    if (value.instances.length === 0 && !value.instancesFile && !value.dns)
      context.addIssue({ code: 'custom', path: ['instances'], message: 'name at least one instance, or an instancesFile, or dns' })
    if (value.enginePriority && !['auto', 'off'].includes(value.hold.order))
      context.addIssue({
        code: 'custom',
        path: ['hold'],
        message: 'the engine keeps the order (enginePriority): leave hold out, or set it to off',
      })
    const names = value.instances.map((one) => one.name ?? one.url)
    names.forEach((one, i) => {
      if (names.indexOf(one) !== i)
        context.addIssue({ code: 'custom', path: ['instances', i], message: `"${one}" stands here twice; give each its own name` })
    })
  })

/** The placement API. Without keys nobody may ask, unless callers on this machine are let in without one. */
export const placementsSchema = z.strictObject({
  listen: listen('127.0.0.1:8403'),
  socket: z.string().min(1, 'allowed is a path').optional(),
  tls: z.strictObject({ certFile: z.string().min(1), keyFile: z.string().min(1) }).optional(),
  keys: z
    .array(
      z.strictObject({
        name,
        scopes: z
          .array(z.enum(['place', 'read', 'control'], 'allowed are place, read and control'))
          .min(1)
          .default(['place', 'read']),
        key: secretSchema,
      }),
    )
    .default([]),
  loopbackWithoutKey: z.boolean('allowed is true or false').default(false),
  bodyLimitMiB: z.number().positive().max(1024).default(32),
  // Chosen: beyond the longest answers of today's models; a ledger must not carry a call for ever that nobody reports.
  settleLimitMs: ms(1_800_000, 1_000),
})

/** phasewise.yaml as a whole. */
export const fileSchema = z.strictObject({
  dataDir: z.string().default('.phasewise'),
  gateways: z
    .strictObject({
      openai: z
        .strictObject({
          listen: listen('127.0.0.1:8400'),
          bodyLimitMiB: z.number().positive().max(1024).default(32),
          callerKeys: z.array(z.strictObject({ application: name, key: secretSchema })).default([]),
          debugHeaders: z.boolean().default(false),
        })
        .prefault({}),
      placements: placementsSchema.prefault({}),
      envoy: z
        .strictObject({
          listen: listen('127.0.0.1:8404'),
          // Plain text without it; with caFile the gateway must show a certificate (mutual TLS).
          tls: z.strictObject({ certFile: z.string().min(1), keyFile: z.string().min(1), caFile: z.string().min(1).optional() }).optional(),
          bodyLimitMiB: z.number().positive().max(1024).default(32),
          holdLimitMs: ms(30_000, 10),
          // For gateways that walk a list of endpoints; Envoy's ORIGINAL_DST cluster takes one alone.
          fallbacks: z.number().int().min(0).max(10).default(0),
          scores: z.boolean('allowed is true or false').default(false),
          debugHeaders: z.boolean('allowed is true or false').default(false),
        })
        .prefault({}),
    })
    .prefault({}),
  admin: adminSchema(listen('127.0.0.1:8401'), secretSchema).prefault({}),
  telemetry: z.strictObject({ metrics: listen('127.0.0.1:8402') }).prefault({}),
  pools: z.array(pool, 'allowed is a list of pools').min(1, 'name at least one pool with its instances'),
  scrape: z.strictObject({ intervalMs: ms(250, 50), timeoutMs: ms(1_000, 50) }).prefault({}),
  timeouts: z
    .strictObject({ connectMs: ms(2_000, 10), firstByteMs: ms(300_000, 100), idleMs: ms(120_000, 100), totalMs: ms(1_800_000, 100) })
    .prefault({}),
  health: z
    .strictObject({
      failuresToEject: z.number().int().min(1).default(3),
      ejectMs: ms(1_000, 10),
      ejectMaxMs: ms(60_000, 10),
      slowStartMs: ms(10_000),
    })
    .prefault({}),
  retry: z.strictObject({ budgetRatio: ratio(0.2), perCall: z.number().int().min(0).max(10).default(2) }).prefault({}),
  log: z
    .strictObject({
      textFeatures: z.boolean('allowed is true or false').default(true),
      retentionDays: z.number().positive('allowed is above 0').default(30),
      maxGiB: z.number().positive('allowed is above 0').default(10),
    })
    .prefault({}),
  night: nightSchema,
  // 'base' is the model that ships, 'off' leaves lengths to the history of applications.
  prediction: z
    .strictObject({ lengthModel: z.string().min(1, "allowed is 'base', 'off' or the folder of a model").default('base') })
    .prefault({}),
  seed: z.number().int().optional(),
})
