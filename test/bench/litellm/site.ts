import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Agent } from 'undici'
import { stringify } from 'yaml'
import { systemClock } from '../../../plugin/clock.ts'
import { type MeasuredCall, sendCall } from '../../../plugin/simulation/call-client.ts'
import { copyHook, type LitellmProxy, MASTER_KEY, startLitellm } from '../../e2e/litellm/proxy.ts'
import { type Measured, startNode } from '../harness.ts'

/** What the parts of the LiteLLM bench share: Phasewise and LiteLLM before the same instances, and callers. */

/** Everything to be ended with the bench, latest first. */
export type Running = { end(): Promise<unknown> }[]

export interface Instance {
  readonly url: string
  readonly speed?: number
  /** KV, seats and step law as the operator knows them; without it the reference at `speed` is taken. */
  readonly profile?: string
}

export interface Site {
  readonly instances: readonly Instance[]
  /** Address of the placement API. */
  readonly placements: string
  readonly folder: string
  readonly phasewise: Measured
}

export const MODEL = 'llama-2-7b'
export const MAIN = new URL('../../../plugin/main.ts', import.meta.url).pathname

/** Phasewise before the instances, as a user starts it: supervisor, router, admin, log. */
export async function startPhasewise(instances: readonly Instance[], policy: string, running: Running): Promise<Site> {
  const folder = mkdtempSync(join(tmpdir(), 'phasewise-bench-'))
  running.push({ end: async () => rmSync(folder, { recursive: true, force: true }) })
  const any = '127.0.0.1:0'
  const config = {
    gateways: { openai: { listen: any }, placements: { listen: any, loopbackWithoutKey: true }, envoy: { listen: 'off' } },
    admin: { listen: any },
    telemetry: { metrics: any },
    pools: [{ name: MODEL, engine: 'virtual', policy, instances: instances.map((one, i) => ({ name: `i${i}`, ...one })) }],
  }
  writeFileSync(join(folder, 'phasewise.yaml'), stringify(config))
  const phasewise = startNode(MAIN, ['start'], { cwd: folder })
  running.push(phasewise)
  const [, placements = ''] = await phasewise.printed(/placing\s+(http:\S+)/)
  return { instances, placements, folder, phasewise }
}

/** LiteLLM before the same instances: by a routing strategy of its own, and with Phasewise's file where `asks`. */
export function startProxy(site: Site, { strategy, asks }: { readonly strategy: string; readonly asks: boolean }): Promise<LitellmProxy> {
  const folder = mkdtempSync(join(tmpdir(), 'phasewise-litellm-'))
  if (asks) copyHook(folder)
  return startLitellm({
    folder,
    deployments: site.instances.map(({ url }) => ({ url })),
    config: {
      router_settings: { routing_strategy: strategy, num_retries: 0, disable_cooldowns: true },
      ...(asks ? { litellm_settings: { callbacks: 'phasewise_litellm.handler' } } : {}),
    },
    env: { PHASEWISE_URL: site.placements, LITELLM_LOG: 'ERROR' },
  })
}

const HEADERS = { authorization: `Bearer ${MASTER_KEY}`, 'content-type': 'application/json' }

export interface Outgoing {
  readonly atMs: number
  readonly body: unknown
  readonly headers?: Readonly<Record<string, string>>
}

/** Sends each call at its own time, whatever became of those before. */
export async function sendAll(proxy: LitellmProxy, agent: Agent, calls: readonly Outgoing[]): Promise<MeasuredCall[]> {
  const startMs = performance.now()
  return Promise.all(
    calls.map(async ({ atMs, body, headers }) => {
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, startMs + atMs - performance.now())))
      return sendCall(
        { origin: proxy.url, path: '/v1/chat/completions', headers: { ...HEADERS, ...headers }, body: JSON.stringify(body) },
        { dispatcher: agent, clock: systemClock },
      )
    }),
  )
}

/** Arithmetic mean; NaN of none. */
export function meanOf(values: readonly number[]): number {
  return values.reduce((sum, one) => sum + one, 0) / values.length
}
