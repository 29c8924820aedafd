import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { systemClock } from './clock.ts'
import type { Config, ConfigParts } from './config.ts'
import { lockDirectory } from './log/lock.ts'
import { migrateDataDirectory } from './log/migrate.ts'
import { type Role, type StartMessage, Unusable } from './main-child.ts'
import { readInput } from './main-config.ts'
import { EMBEDDED_COUNT, embeddedConfig } from './main-embedded.ts'
import { type NightWatch, startNightWatch } from './main-night.ts'
import { settle } from './main-settings.ts'
import { createSupervisor, type Supervisor } from './main-supervisor.ts'
import { VERSION } from './main-version.ts'
import { createRng } from './rng.ts'

export interface StartOptions {
  readonly config: string
  readonly demo: boolean
  readonly timeFactor: number
}

/** `phasewise start`: supervises the other processes until a signal ends it. */
export async function runStart(options: StartOptions): Promise<void> {
  const file = readInput(options.config)
  if (!file && options.config !== 'phasewise.yaml')
    throw new Unusable(`${options.config} is not there; write it, or leave --config out for the embedded default`)
  const settings = settle(file ?? embeddedConfig([])).config
  mkdirSync(settings.dataDir, { recursive: true })
  const lock = lockDirectory({ dataDir: settings.dataDir, holder: { pid: process.pid, sinceUnixMs: systemClock.nowUnixMs() } })
  migrateDataDirectory({ dataDir: settings.dataDir, nowUnixMs: systemClock.nowUnixMs() })
  let unusable = (_text: string): void => undefined
  const failed = new Promise<never>((_, reject) => {
    unusable = (text) => reject(new Unusable(text))
  })
  failed.catch(() => undefined)
  const supervisor = createSupervisor({
    nowMs: systemClock.nowMs,
    print: (line) => console.log(line),
    onUnusable: (_role, text) => unusable(text),
  })
  const signal = new Promise<string>((done) => {
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => done(name))
  })
  let night: NightWatch | undefined
  try {
    const began = startAll({ supervisor, file, settings, options }).then(() => {
      const rng = createRng(systemClock.nowUnixMs() % 2 ** 32).stream('night')
      night = startNightWatch({ config: settings, input: () => file ?? embeddedConfig([]), rng, print: (line) => console.log(line) })
    })
    const ended = await Promise.race([signal, failed, began.then(() => signal)])
    console.log(`\nphasewise: ${ended}, draining`)
  } finally {
    await night?.stop()
    await supervisor.stop()
    lock.release()
  }
  console.log('phasewise: ended')
}

interface Starting {
  readonly supervisor: Supervisor
  readonly file: ConfigParts['input'] | undefined
  readonly settings: Config
  readonly options: StartOptions
}

async function startAll({ supervisor, file, settings, options }: Starting): Promise<void> {
  let input = file
  let ports: readonly number[] = Array.from({ length: EMBEDDED_COUNT }, () => 0)
  const key = randomBytes(32).toString('base64url')
  let linePort = 0
  const proxyUrl = addressOf(settings.gateways.openai.listen)
  const message = (): StartMessage => ({
    type: 'start',
    input: input ?? embeddedConfig([]),
    crashes: supervisor.crashes,
    virtual: { timeFactor: options.timeFactor, ports, proxyUrl: proxyUrl ?? '' },
    line: { key, port: linePort },
  })
  const begin = (role: Role): Promise<Readonly<Record<string, string>>> => supervisor.start(role, message)
  console.log(
    `Phasewise ${VERSION}: ${file ? `configuration ${settings.source}` : 'no phasewise.yaml here, so the embedded default: four virtual instances'}`,
  )
  for (const words of settings.renamed) console.log(`  ${words}; it is read as it is meant`)
  if (!file) {
    const { urls = '' } = await begin('fleet')
    const list = urls.split(' ')
    ports = list.map((one) => Number(new URL(one).port))
    input = embeddedConfig(list)
  }
  const router = await begin('router')
  linePort = Number(new URL(router.line ?? 'http://127.0.0.1:0').port)
  const admin = settings.admin.listen ? await begin('admin') : {}
  printWelcome({ router, admin, settings, embedded: !file, demo: options.demo })
  if (!file && options.demo && router.proxy) await begin('demo')
}

function printWelcome(parts: {
  readonly router: Readonly<Record<string, string>>
  readonly admin: Readonly<Record<string, string>>
  readonly settings: Config
  readonly embedded: boolean
  readonly demo: boolean
}): void {
  const { router, admin, settings } = parts
  const model = settings.pools[0]?.models[0] ?? 'model'
  const lines = [
    admin.url
      ? `  admin    ${admin.url}${admin.signIn ?? ''}${admin.signIn ? '   (opens once: it lets you set the password)' : ''}`
      : '  admin    off',
    router.proxy ? `  proxy    ${router.proxy}/v1   (health: ${router.proxy}/health)` : '  proxy    off',
    router.picker ? `  picker   ${router.picker}   (Envoy's ext_proc: npm run demo:envoy)` : '',
    router.placements ? `  placing  ${router.placements}   (for LiteLLM: npm run phasewise -- attach litellm)` : '',
    router.metrics ? `  metrics  ${router.metrics}` : '  metrics  off',
    `  data     ${settings.dataDir}`,
    router.proxy
      ? `  try      curl ${router.proxy}/v1/chat/completions -H 'content-type: application/json' -d '{"model":"${model}","messages":[{"role":"user","content":"Translate to German: good morning"}]}'`
      : '',
    parts.embedded
      ? `  yours    write phasewise.yaml with your instances (README), then start again; check it with: npm run phasewise -- doctor`
      : '',
    `  end      Ctrl-C${parts.embedded && parts.demo ? '   (demo traffic is on; npm start -- --no-demo leaves it off)' : ''}`,
  ]
  console.log(lines.filter((line) => line !== '').join('\n'))
  console.log('first calls:')
}

const addressOf = (listen: { readonly host: string; readonly port: number } | undefined): string | undefined =>
  listen && `http://${listen.host.includes(':') ? `[${listen.host}]` : listen.host}:${listen.port}`
