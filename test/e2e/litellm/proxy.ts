import { spawn, spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { freePorts, makeFolder } from '../processes.ts'

/** The real LiteLLM proxy, from PyPI, in a folder of its own. */

const root = new URL('../../..', import.meta.url).pathname

/** The one file that makes LiteLLM ask Phasewise. */
export const HOOK = join(root, 'plugin/gateways/litellm/phasewise_litellm.py')

/** Copies it beside a config.yaml. */
export const copyHook = (folder: string): void => copyFileSync(HOOK, join(folder, 'phasewise_litellm.py'))

/** LiteLLM refuses to start with a weak one. */
export const MASTER_KEY = 'sk-R7vQm2Lk93xTzPw8Yc5N'

/** Installs LiteLLM where that was not done yet (a minute or two); gives the folder of its programs. Throws with pip's words. */
export function installLitellm(): string {
  const done = spawnSync(process.execPath, [join(root, '.dev/venv.mjs'), 'litellm'], { encoding: 'utf8' })
  if (done.status !== 0) throw new Error(`LiteLLM could not be installed: ${done.stderr}${done.stdout}`)
  return join(done.stdout.trim().split('\n').at(-1) ?? '', 'bin')
}

export interface LitellmProxy {
  readonly url: string
  readonly pid: number
  text(): string
  end(): Promise<void>
}

export interface LitellmStart {
  readonly deployments: readonly { readonly url: string; readonly group?: string; readonly id?: string }[]
  /** Added to config.yaml. */
  readonly config?: Record<string, unknown>
  readonly env?: Record<string, string>
  /** Where its config.yaml goes; a new folder when absent. */
  readonly folder?: string
  readonly workers?: number
  /** Lines of YAML added as they are. */
  readonly lines?: string
}

const running = new Set<LitellmProxy>()

/** Ends every proxy that was started; for afterAll. */
export async function endProxies(): Promise<void> {
  await Promise.all([...running].map((one) => one.end()))
}

/** Starts the proxy and waits until it serves. */
export async function startLitellm(start: LitellmStart): Promise<LitellmProxy> {
  const bin = installLitellm()
  const folder = start.folder ?? makeFolder()
  mkdirSync(folder, { recursive: true })
  const [port = 0] = await freePorts(1)
  const config = {
    model_list: start.deployments.map(({ url, group = 'chat', id }) => ({
      model_name: group,
      litellm_params: { model: 'hosted_vllm/llama-2-7b', api_base: `${url}/v1`, api_key: 'none' },
      ...(id === undefined ? {} : { model_info: { id } }),
    })),
    general_settings: { master_key: MASTER_KEY },
    ...start.config,
  }
  writeFileSync(join(folder, 'config.yaml'), `${stringify(config)}${start.lines ?? ''}`)
  const workers = start.workers === undefined ? [] : ['--num_workers', String(start.workers)]
  const child = spawn(join(bin, 'litellm'), ['--config', 'config.yaml', '--host', '127.0.0.1', '--port', String(port), ...workers], {
    cwd: folder,
    // No look-ups of price tables and tokenisers: there may be no internet, and a time-out blocks the whole proxy.
    env: { ...process.env, LITELLM_LOCAL_MODEL_COST_MAP: 'True', LITELLM_TELEMETRY: 'False', HF_HUB_OFFLINE: '1', ...start.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  const hear = (chunk: Buffer): void => {
    text += chunk.toString()
  }
  child.stdout.on('data', hear)
  child.stderr.on('data', hear)
  let isGone = false
  const gone = new Promise<void>((done) =>
    child.once('close', () => {
      isGone = true
      done()
    }),
  )
  const proxy: LitellmProxy = {
    url: `http://127.0.0.1:${port}`,
    pid: child.pid ?? 0,
    text: () => text,
    async end() {
      running.delete(proxy)
      if (isGone) return
      child.kill('SIGTERM')
      const hard = setTimeout(() => child.kill('SIGKILL'), 8_000)
      await gone
      clearTimeout(hard)
    },
  }
  running.add(proxy)
  for (let tries = 0; tries < 600; tries++) {
    if (isGone) break
    const reply = await fetch(`${proxy.url}/health/liveliness`).catch(() => undefined)
    if (reply?.ok) return proxy
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
  throw new Error(`LiteLLM did not start:\n${text}`)
}
