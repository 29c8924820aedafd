import { accessSync, constants, existsSync, statfsSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname } from 'node:path'
import { Agent, fetch } from 'undici'
import { systemClock } from './clock.ts'
import { type Config, ConfigError, type InstanceConfig, type Listen, type PoolConfig } from './config.ts'
import { readMetrics } from './fleet/metrics-text.ts'
import { DirectoryHeld, lockDirectory } from './log/lock.ts'
import { databasePath, migrateDataDirectory } from './log/migrate.ts'
import { openReader } from './log/read/reader.ts'
import { configOf, readInput } from './main-config.ts'
import { examineEnvoyDoor } from './main-doctor-envoy.ts'
import { examinePlacements } from './main-doctor-placements.ts'
import { embeddedConfig } from './main-embedded.ts'

/** One thing looked at. 'fail' would not work; 'warn' works worse than it could. */
export interface Finding {
  readonly level: 'ok' | 'warn' | 'fail'
  readonly about: string
  readonly found: string
  /** What to do; absent where nothing is to be done. */
  readonly remedy?: string
}

/** Patience per question to an instance: a busy vLLM answers /metrics within 20 ms. */
const ASK_MS = 3_000
/** Below this the log may fill the disk within a day of demo traffic. */
const FREE_BYTES_LEAST = 1024 ** 3

/** `phasewise doctor`: prints every finding; 1 when one of them is a failure, else 0. */
export async function runDoctor(options: { readonly config: string; readonly json?: true; readonly envoy?: string }): Promise<number> {
  const findings = await examine(options.config, options.envoy)
  if (options.json) console.log(JSON.stringify({ findings }, null, 2))
  else
    for (const one of findings)
      console.log(`${one.level.padEnd(4)}  ${one.about}: ${one.found}${one.remedy ? `\n      → ${one.remedy}` : ''}`)
  const failures = findings.filter((one) => one.level === 'fail').length
  if (!options.json)
    console.log(failures === 0 ? '\nNothing stands in the way.' : `\n${failures} thing${failures === 1 ? '' : 's'} would not work.`)
  return failures === 0 ? 0 : 1
}

/** Everything doctor looks at, in the order of the loop. */
export async function examine(path: string, envoy?: string): Promise<Finding[]> {
  const { config, findings } = examineFile(path)
  if (!config) return findings
  const { held, findings: database } = examineDatabase(config)
  const [ports, instances, door] = await Promise.all([
    examinePorts(config, held),
    examineInstances(config),
    examineEnvoyDoor(config, envoy),
  ])
  return [...findings, ...ports, ...database, ...instances, ...examinePlacements(config), ...door]
}

function examineFile(path: string): { readonly config?: Config; readonly findings: Finding[] } {
  try {
    const input = readInput(path)
    const config = configOf(input ?? embeddedConfig([]))
    const found = input
      ? `${config.source}: ${config.pools.length} pool(s)`
      : `no ${path} here: the embedded default runs, with virtual instances`
    const renamed = config.renamed.map((words): Finding => ({ level: 'warn', about: 'configuration', found: words, remedy: 'write it so' }))
    return { config, findings: [{ level: 'ok', about: 'configuration', found }, ...renamed] }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return {
      findings: error.problems.map(({ key, got, remedy }) => ({ level: 'fail', about: key || path, found: `got ${got}`, remedy })),
    }
  }
}

async function examinePorts(config: Config, held: boolean): Promise<Finding[]> {
  const asked: readonly (readonly [string, Listen | undefined])[] = [
    ['gateways.openai.listen', config.gateways.openai.listen],
    ['gateways.envoy.listen', config.gateways.envoy.listen],
    ['gateways.placements.listen', config.gateways.placements.listen],
    ['admin.listen', config.admin.listen],
    ['telemetry.metrics', config.telemetry.metrics],
  ]
  return Promise.all(
    asked.map(async ([about, listen]): Promise<Finding> => {
      if (!listen) return { level: 'ok', about, found: 'off' }
      const address = `${listen.host}:${listen.port}`
      const problem = await tryListen(listen)
      if (!problem) return { level: 'ok', about, found: `${address} is free` }
      if (problem === 'EADDRINUSE' && held) return { level: 'ok', about, found: `${address} is taken, by the running Phasewise it seems` }
      return {
        level: 'fail',
        about,
        found: `${address} cannot be listened on (${problem})`,
        remedy: `stop what listens there, or set another address for ${about}`,
      }
    }),
  )
}

function tryListen({ host, port }: Listen): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(undefined)))
  })
}

function examineDatabase({ dataDir }: Config): { readonly held: boolean; readonly findings: Finding[] } {
  const about = 'dataDir'
  const place = existsSync(dataDir) ? dataDir : dirname(dataDir)
  try {
    accessSync(place, constants.W_OK)
  } catch {
    return {
      held: false,
      findings: [
        { level: 'fail', about, found: `${place} is not writable`, remedy: 'make it writable for this user, or set another dataDir' },
      ],
    }
  }
  const { bavail, bsize } = statfsSync(place)
  const freeGiB = ((bavail * bsize) / 1024 ** 3).toFixed(1)
  const space: Finding =
    bavail * bsize < FREE_BYTES_LEAST
      ? { level: 'warn', about, found: `${freeGiB} GiB free`, remedy: 'free some space, or lower log.maxGiB' }
      : { level: 'ok', about, found: `${dataDir} is writable, ${freeGiB} GiB free` }
  return examineLog(dataDir, space)
}

function examineLog(dataDir: string, space: Finding): { readonly held: boolean; readonly findings: Finding[] } {
  if (!existsSync(databasePath(dataDir, 'log')))
    return { held: false, findings: [space, { level: 'ok', about: 'database', found: 'none yet; the first start makes it' }] }
  try {
    const lock = lockDirectory({ dataDir, holder: { pid: process.pid, sinceUnixMs: systemClock.nowUnixMs() } })
    try {
      migrateDataDirectory({ dataDir, nowUnixMs: systemClock.nowUnixMs() })
    } finally {
      lock.release()
    }
  } catch (error) {
    if (!(error instanceof DirectoryHeld))
      return {
        held: false,
        findings: [space, { level: 'fail', about: 'database', found: String((error as Error).message), remedy: 'as it says' }],
      }
    return {
      held: true,
      findings: [
        space,
        { level: 'ok', about: 'database', found: `in use by a running Phasewise (process ${error.holder?.pid ?? 'unknown'})` },
      ],
    }
  }
  return { held: false, findings: [space, checkIntegrity(dataDir)] }
}

function checkIntegrity(dataDir: string): Finding {
  const about = 'database'
  const reader = openReader(databasePath(dataDir, 'log'))
  try {
    const { answer, calls } = reader.read((query) => ({
      answer: query.get<{ quick_check: string }>('PRAGMA quick_check(1)')?.quick_check,
      calls: query.get<{ n: number }>('SELECT count(*) AS n FROM call')?.n ?? 0,
    }))
    if (answer === 'ok') return { level: 'ok', about, found: `sound, ${calls.toLocaleString('en')} calls` }
    return { level: 'fail', about, found: `damaged: ${answer}`, remedy: 'move log.sqlite away (a new one is made), or restore a copy' }
  } finally {
    reader.close()
  }
}

async function examineInstances(config: Config): Promise<Finding[]> {
  const all = config.pools.flatMap((pool) => pool.instances.map((instance) => ({ pool, instance })))
  if (config.source === 'embedded default') return []
  const none: Finding[] = config.pools
    .filter((pool) => pool.instances.length === 0)
    .map((pool) => ({
      level: 'ok',
      about: `pool ${pool.name}`,
      found: `finds its instances ${pool.dns ? `by DNS name ${pool.dns.host}` : `in ${pool.instancesFile}`}`,
    }))
  return [...none, ...(await Promise.all(all.map(({ pool, instance }) => examineInstance(pool, instance)))).flat()]
}

async function examineInstance(pool: PoolConfig, instance: InstanceConfig): Promise<Finding[]> {
  const about = `${pool.name} / ${instance.name}`
  const agent = new Agent({ connectTimeout: ASK_MS })
  const ask = (path: string) =>
    fetch(`${instance.url}${path}`, {
      dispatcher: agent,
      signal: AbortSignal.timeout(ASK_MS),
      headers: instance.apiKey ? { authorization: `Bearer ${instance.apiKey}` } : {},
    })
  try {
    const models = await ask('/v1/models')
    if (models.status === 401 || models.status === 403)
      return [
        {
          level: 'fail',
          about,
          found: `refuses our key (${models.status})`,
          remedy: 'set apiKey: {env: NAME} of this instance to the key it was started with',
        },
      ]
    return [await examineModels(pool, about, models), await examineMetrics(pool, about, await ask('/metrics'))]
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)
    return [
      {
        level: 'fail',
        about,
        found: `${instance.url} does not answer (${cause})`,
        remedy: 'start it, or mend its url; Phasewise starts without it and takes it in when it answers',
      },
    ]
  } finally {
    await agent.destroy()
  }
}

async function examineModels(pool: PoolConfig, about: string, answer: Awaited<ReturnType<typeof fetch>>): Promise<Finding> {
  const body = (await answer.json().catch(() => undefined)) as { data?: { id?: string }[] } | undefined
  const served = (body?.data ?? []).map((model) => model.id)
  const asked = [...pool.models.filter((model) => !(model in pool.aliases)), ...Object.values(pool.aliases)]
  const missing = asked.filter((model) => !served.includes(model))
  if (missing.length === 0) return { level: 'ok', about, found: `answers and serves ${asked.join(', ')}` }
  return {
    level: 'fail',
    about,
    found: `does not serve ${missing.join(', ')}; it serves ${served.join(', ') || 'nothing it would name'}`,
    remedy: "set the pool's models to the names the instance serves, or aliases: {yours: theirs}",
  }
}

async function examineMetrics(pool: PoolConfig, about: string, answer: Awaited<ReturnType<typeof fetch>>): Promise<Finding> {
  const text = await answer.text()
  const metrics = answer.ok ? readMetrics(text) : undefined
  if (metrics && !Number.isNaN(metrics.running))
    return {
      level: 'ok',
      about,
      found: `metrics tell running ${metrics.running}, waiting ${Number.isNaN(metrics.waiting) ? 'unknown' : metrics.waiting}`,
    }
  return {
    level: 'warn',
    about,
    found: `/metrics tells nothing of its queue (status ${answer.status})`,
    remedy: `placement then rests on our own ledger alone; ${pool.engine === 'llama.cpp' ? 'start llama-server with --metrics' : pool.engine === 'sglang' ? 'start SGLang with --enable-metrics' : 'switch its Prometheus metrics on'}`,
  }
}
