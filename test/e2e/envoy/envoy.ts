import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'

/** Real Envoy for tests, benchmarks and the demo, run with the files that README quotes; only addresses differ. */
export interface EnvoyOptions {
  /** 'envoy.yaml' unless said otherwise. */
  readonly file?: string
  readonly pickerPort: number
  readonly listenPort: number
  /** Port of Envoy's own admin page; needed to know when it is ready. */
  readonly adminPort: number
  /** "ip:port" of the instances of the static cluster, for when the picker is away. */
  readonly unplaced?: readonly string[]
  /** Changes what the file says. */
  readonly change?: (config: EnvoyConfig) => void
  readonly logLevel?: 'error' | 'warning' | 'info' | 'debug'
}

export interface HttpFilter {
  readonly name: string
  readonly typed_config: Record<string, unknown>
}

/** As much of an Envoy configuration as tests change. */
export interface EnvoyConfig {
  admin: { address: Address }
  static_resources: {
    listeners: { address: Address; filter_chains: { filters: { typed_config: ConnectionManager }[] }[] }[]
    clusters: Cluster[]
  }
}
interface Address {
  socket_address: { address: string; port_value: number }
}
interface ConnectionManager extends Record<string, unknown> {
  http_filters: HttpFilter[]
}
interface Cluster {
  name: string
  load_assignment: { endpoints: { lb_endpoints: { endpoint: { address: Address } }[] }[] }
}

export interface RunningEnvoy {
  readonly url: string
  readonly pid: number
  /** One of Envoy's counters or gauges now. */
  stat(name: string): Promise<number>
  /** Resolves when it has ended. */
  stop(signal?: NodeJS.Signals): Promise<void>
  text(): string
}

const FOLDER = new URL('.', import.meta.url)
let binary: string | undefined

/** The path of Envoy's binary; installs it into the project's `.venv` when it is not there. Throws with the remedy where that fails. */
export function envoyBinary(): string {
  if (binary) return binary
  const done = spawnSync(process.execPath, [new URL('../../../.dev/ensure-envoy.mjs', import.meta.url).pathname], { encoding: 'utf8' })
  if (done.status !== 0) throw new Error(`Envoy could not be installed: ${done.stderr}`)
  binary = done.stdout.trim().split('\n').at(-1) ?? ''
  return binary
}

/** The configuration file with these addresses. */
export function envoyConfig(options: EnvoyOptions): EnvoyConfig {
  const config = parse(readFileSync(new URL(options.file ?? 'envoy.yaml', FOLDER), 'utf8')) as EnvoyConfig
  config.admin.address.socket_address.port_value = options.adminPort
  config.static_resources.listeners[0]!.address.socket_address.port_value = options.listenPort
  const endpoints = (name: string): { lb_endpoints: { endpoint: { address: Address } }[] } =>
    config.static_resources.clusters.find((cluster) => cluster.name === name)!.load_assignment.endpoints[0]!
  endpoints('phasewise').lb_endpoints[0]!.endpoint.address.socket_address.port_value = options.pickerPort
  if (options.unplaced && config.static_resources.clusters.some(({ name }) => name === 'unplaced'))
    endpoints('unplaced').lb_endpoints = options.unplaced.map((one) => {
      const [address = '', port] = one.split(':')
      return { endpoint: { address: { socket_address: { address, port_value: Number(port) } } } }
    })
  options.change?.(config)
  return config
}

/** The connection manager's HTTP filters, to be changed in place. */
export function filtersOf(config: EnvoyConfig): HttpFilter[] {
  return config.static_resources.listeners[0]!.filter_chains[0]!.filters[0]!.typed_config.http_filters
}

/** Starts Envoy with one worker and waits until it takes calls. */
export async function startEnvoy(options: EnvoyOptions): Promise<RunningEnvoy> {
  const folder = mkdtempSync(join(tmpdir(), 'phasewise-envoy-'))
  const path = join(folder, 'envoy.yaml')
  writeFileSync(path, stringify(envoyConfig(options)))
  const args = ['-c', path, '--concurrency', '1', '--use-dynamic-base-id', '-l', options.logLevel ?? 'error']
  const child = spawn(envoyBinary(), args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()))
  await ready(options.adminPort, child, () => text)
  const admin = `http://127.0.0.1:${options.adminPort}`
  return {
    url: `http://127.0.0.1:${options.listenPort}`,
    pid: child.pid ?? 0,
    async stat(name) {
      const lines = (await (await fetch(`${admin}/stats?filter=${encodeURIComponent(`^${name}$`)}`)).text()).split('\n')
      return Number(lines.find((line) => line.startsWith(`${name}:`))?.split(':')[1] ?? 0)
    },
    async stop(signal = 'SIGTERM') {
      child.kill(signal)
      await exited
    },
    text: () => text,
  }
}

async function ready(adminPort: number, child: ChildProcess, text: () => string): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`Envoy ended before it was ready:\n${text()}`)
    const answer = await fetch(`http://127.0.0.1:${adminPort}/ready`).catch(() => undefined)
    await answer?.body?.cancel()
    if (answer?.status === 200) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
