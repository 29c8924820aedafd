import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { parse, YAMLParseError } from 'yaml'
import type { z } from 'zod'
import { type AdminConfig, resolveAdmin } from './config-admin.ts'
import { inPresentWords } from './config-mode.ts'
import { type PlacementsConfig, resolvePlacements } from './config-placements.ts'
import { allowedWords } from './config-remedy.ts'
import { fileSchema, instanceListSchema, isLoopback, type secretSchema } from './config-schema.ts'
import { createSecretReader, missingSecrets, type SecretReader } from './config-secrets.ts'

export { isLoopback, type Listen } from './config-schema.ts'

/**
 * phasewise.yaml + environment -> frozen Config; the only reader of process.env. Every problem is collected and told at once: key,
 * value got, what is allowed and what to do.
 */
export interface Problem {
  readonly key: string
  /** The value as JSON, secrets hidden. */
  readonly got: string
  readonly remedy: string
}

/** The configuration cannot be used; `problems` lists everything that is wrong with it. */
export class ConfigError extends Error {
  readonly problems: readonly Problem[]
  constructor(source: string, problems: readonly Problem[]) {
    super(`${source} has ${problems.length} problem${problems.length === 1 ? '' : 's'}\n${problems.map(formatProblem).join('\n')}`)
    this.name = 'ConfigError'
    this.problems = problems
  }
}

/** One problem as one line: key, value, remedy. */
export function formatProblem(problem: Problem): string {
  return `  ${problem.key || '(whole file)'}: got ${problem.got}; ${problem.remedy}`
}

type Parsed = z.infer<typeof fileSchema>
type ParsedPool = Parsed['pools'][number]

export interface InstanceConfig {
  readonly name: string
  readonly url: string
  readonly weight: number
  readonly speed: number
  /** Name of its profile; the pool's where absent. */
  readonly profile?: string
  /** The resolved secret; never printed. */
  readonly apiKey?: string
  readonly caFile?: string
  /** The name its certificate is for, where the url holds an address. */
  readonly serverName?: string
}

/** A DNS name whose every address is an instance. */
export interface DnsConfig {
  readonly host: string
  readonly port: number
  readonly scheme: 'http' | 'https'
  readonly refreshMs: number
  readonly apiKey?: string
  readonly caFile?: string
}
export type PoolConfig = Omit<ParsedPool, 'instances' | 'models' | 'requestUsage' | 'dns'> & {
  readonly models: readonly string[]
  readonly requestUsage: boolean
  readonly instances: readonly InstanceConfig[]
  readonly dns?: DnsConfig
}
export type Config = Omit<Parsed, 'pools' | 'gateways' | 'admin'> & {
  /** Where it came from: the file's path, or 'embedded default'. */
  readonly source: string
  /** Keys and values that stand there in earlier words; they are read as they are meant. */
  readonly renamed: readonly string[]
  readonly pools: readonly PoolConfig[]
  readonly admin: AdminConfig
  readonly gateways: Omit<Parsed['gateways'], 'openai' | 'placements'> & {
    readonly placements: PlacementsConfig
    readonly openai: Omit<Parsed['gateways']['openai'], 'callerKeys'> & {
      readonly callerKeys: readonly { readonly application: string; readonly key: string }[]
    }
  }
  /** OTLP exporters are wanted: an OTEL_EXPORTER_OTLP_* endpoint is set. */
  readonly otlp: boolean
}

export interface ConfigParts {
  /** Text of the file and its path (secrets' files are relative to it), or a ready object for the embedded default. */
  readonly input: { readonly path: string; readonly text: string } | { readonly path: string; readonly value: unknown }
  readonly env: Readonly<Record<string, string | undefined>>
  /** Names a pool may use as policy. */
  readonly policyNames: readonly string[]
  /** Names that a pool or an instance may use as profile; any where absent. */
  readonly profileNames?: readonly string[]
}

/** Reads a file or a ready object into a frozen Config. Throws ConfigError with every problem. */
export function parseConfig(parts: ConfigParts): Config {
  const { path } = parts.input
  const given = 'text' in parts.input ? parseYaml(path, parts.input.text) : parts.input.value
  const { value: raw, renamed } = inPresentWords(given)
  const result = fileSchema.safeParse(raw ?? {}, { error: allowedWords })
  const problems: Problem[] = result.success ? [] : result.error.issues.flatMap((issue) => problemsOf(issue, raw))
  problems.push(...nameProblems(raw, parts))
  if (!result.success) throw new ConfigError(path, [...problems, ...missingSecrets(raw, parts.env)])
  const secrets = createSecretReader({ base: dirname(path), env: parts.env, problems })
  const config = { ...resolveConfig({ parsed: result.data, parts, secrets, problems }), renamed }
  if (problems.length > 0) throw new ConfigError(path, problems)
  return deepFreeze(config)
}

/** phasewise.yaml's text, or undefined where there is none. Throws ConfigError when it is there and cannot be read. */
export function readConfigFile(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined
    throw new ConfigError(path, [{ key: '', got: String(cause), remedy: 'make the file readable for this user' }])
  }
}

/** Policies and profiles that do not exist; looked for in the raw text, so that they are told even where the form is wrong elsewhere. */
function nameProblems(raw: unknown, { policyNames, profileNames }: ConfigParts): Problem[] {
  const pools = (raw as { pools?: unknown } | undefined)?.pools
  if (!Array.isArray(pools)) return []
  const check = (holder: unknown, at: string, key: string, allowed: readonly string[] | undefined): Problem[] => {
    const name = (holder as Record<string, unknown> | null | undefined)?.[key]
    if (typeof name !== 'string' || !allowed || allowed.includes(name)) return []
    return [{ key: `${at}.${key}`, got: JSON.stringify(name), remedy: `allowed are ${allowed.join(', ')}` }]
  }
  return pools.flatMap((pool: Record<string, unknown> | null, i) => [
    ...['policy', 'fallbackPolicy'].flatMap((key) => check(pool, `pools.${i}`, key, policyNames)),
    ...[
      [pool, `pools.${i}`] as const,
      ...(Array.isArray(pool?.instances) ? pool.instances : []).map((one, j) => [one, `pools.${i}.instances.${j}`] as const),
    ].flatMap(([holder, at]) => check(holder, at, 'profile', profileNames)),
  ])
}

/** The process's environment, for `parseConfig`; nothing else reads it. */
export const environment = (): Readonly<Record<string, string | undefined>> => process.env

function parseYaml(path: string, text: string): unknown {
  try {
    return parse(text)
  } catch (cause) {
    if (!(cause instanceof YAMLParseError)) throw cause
    throw new ConfigError(path, [{ key: '', got: 'text that is not YAML', remedy: cause.message.split('\n')[0] ?? 'mend the syntax' }])
  }
}

interface Resolving {
  readonly parsed: Parsed
  readonly parts: ConfigParts
  readonly secrets: SecretReader
  readonly problems: Problem[]
}

function resolveConfig({ parsed, parts, secrets, problems }: Resolving): Omit<Config, 'renamed'> {
  const openai = parsed.gateways.openai
  const callerKeys = openai.callerKeys.map((one, i) => ({
    application: one.application,
    key: secrets(one.key, `gateways.openai.callerKeys.${i}.key`) ?? '',
  }))
  if (openai.listen && !isLoopback(openai.listen.host) && callerKeys.length === 0)
    problems.push({
      key: 'gateways.openai.callerKeys',
      got: 'none',
      remedy: `${openai.listen.host} can be reached from outside: add a key per application, or listen on 127.0.0.1`,
    })
  const placements = resolvePlacements({ placements: parsed.gateways.placements, path: parts.input.path, secrets })
  const pools = parsed.pools.map((one, i) => resolvePool({ one, i, parts, secrets }))
  for (const [i, one] of pools.entries())
    for (const model of [...one.models, ...Object.keys(one.aliases)])
      if (pools.slice(0, i).some((other) => other.models.includes(model) || model in other.aliases))
        problems.push({
          key: `pools.${i}.models`,
          got: JSON.stringify(model),
          remedy: 'another pool serves this model name already; a name belongs to one pool',
        })
  return {
    ...parsed,
    source: parts.input.path,
    dataDir: resolve(parsed.dataDir),
    prediction: { lengthModel: modelFolder(parsed.prediction.lengthModel, parts.input.path) },
    gateways: {
      ...parsed.gateways,
      openai: { ...openai, callerKeys },
      placements,
      envoy: resolveEnvoy(parsed.gateways.envoy, parts.input.path),
    },
    pools,
    admin: resolveAdmin({ admin: parsed.admin, secrets, problems }),
    otlp: Object.keys(parts.env).some((key) => /^OTEL_EXPORTER_OTLP_(\w+_)?ENDPOINT$/.test(key)),
  }
}

const modelFolder = (model: string, path: string): string => (model === 'base' || model === 'off' ? model : resolve(dirname(path), model))

/** Certificates are named relative to the file. */
function resolveEnvoy(envoy: Parsed['gateways']['envoy'], path: string): Parsed['gateways']['envoy'] {
  const { tls } = envoy
  if (!tls) return envoy
  const at = (file: string): string => resolve(dirname(path), file)
  const { certFile, keyFile, caFile } = tls
  return { ...envoy, tls: { certFile: at(certFile), keyFile: at(keyFile), ...(caFile === undefined ? {} : { caFile: at(caFile) }) } }
}

function resolvePool(given: { one: ParsedPool; i: number; parts: ConfigParts; secrets: SecretReader }): PoolConfig {
  const { one, i, parts, secrets } = given
  const base = dirname(parts.input.path)
  const { dns, instancesFile, ...rest } = one
  return {
    ...rest,
    ...(instancesFile === undefined ? {} : { instancesFile: resolve(base, instancesFile) }),
    models: one.models ?? [one.name],
    requestUsage: one.requestUsage ?? one.engine !== 'other',
    instances: resolveInstances(one.instances, `pools.${i}.instances`, secrets),
    ...(dns
      ? {
          dns: {
            ...withSecret(dns, `pools.${i}.dns`, secrets),
            host: dns.host,
            port: dns.port,
            scheme: dns.scheme,
            refreshMs: dns.refreshMs,
          },
        }
      : {}),
  }
}

/** The optional parts that instances and DNS names share. */
function withSecret(
  given: { readonly apiKey?: z.infer<typeof secretSchema> | undefined; readonly caFile?: string | undefined },
  key: string,
  secrets: SecretReader,
): { readonly apiKey?: string; readonly caFile?: string } {
  const apiKey = secrets(given.apiKey, `${key}.apiKey`)
  return { ...(apiKey === undefined ? {} : { apiKey }), ...(given.caFile === undefined ? {} : { caFile: given.caFile }) }
}

function resolveInstances(list: z.infer<typeof instanceListSchema>, key: string, secrets: SecretReader): InstanceConfig[] {
  return list.map((each, j) => {
    const { name, url, weight, speed, profile, serverName } = each
    const known = { ...(profile && { profile }), ...(serverName && { serverName }), ...withSecret(each, `${key}.${j}`, secrets) }
    return { name: name ?? new URL(url).host, url, weight, speed, ...known }
  })
}

/** Reads a watched file of instances. Throws ConfigError with every problem; the caller keeps the previous list. */
export function parseInstancesFile(parts: {
  readonly path: string
  readonly text: string
  readonly env: ConfigParts['env']
}): InstanceConfig[] {
  const raw = parseYaml(parts.path, parts.text)
  const result = instanceListSchema.safeParse(raw ?? [], { error: allowedWords })
  if (!result.success)
    throw new ConfigError(
      parts.path,
      result.error.issues.flatMap((issue) => problemsOf(issue, raw)),
    )
  const problems: Problem[] = []
  const list = resolveInstances(result.data, 'instances', createSecretReader({ base: dirname(parts.path), env: parts.env, problems }))
  if (problems.length > 0) throw new ConfigError(parts.path, problems)
  return list
}

function problemsOf(issue: z.core.$ZodIssue, raw: unknown): Problem[] {
  const key = issue.path.join('.')
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((unknown) => ({
      key: key ? `${key}.${unknown}` : unknown,
      got: 'a key that does not exist',
      remedy: 'check the spelling, or remove it',
    }))
  const value = issue.path.reduce<unknown>((at, step) => (at as Record<PropertyKey, unknown> | undefined)?.[step], raw)
  const hidden = /key|secret|password/i.test(String(issue.path.at(-1) ?? ''))
  return [{ key, got: hidden && value !== undefined ? '(hidden)' : (JSON.stringify(value) ?? 'nothing'), remedy: issue.message }]
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    Object.values(value).forEach(deepFreeze)
  }
  return value
}
