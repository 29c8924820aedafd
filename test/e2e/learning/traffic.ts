import { setTimeout as sleep } from 'node:timers/promises'
import { Agent } from 'undici'
import { systemClock } from '../../../plugin/clock.ts'
import { type Rng, seedOf } from '../../../plugin/rng.ts'
import { type MeasuredCall, sendCall } from '../../../plugin/simulation/call-client.ts'
import { promptText } from '../../../plugin/simulation/prompt-text.ts'
import { logNormal, type TaskName } from '../../../plugin/simulation/tasks.ts'

/** A workload that nothing was trained on: applications of its own with lengths of their own, and a load that swings like a day. */
interface Application {
  readonly name: string
  readonly task: TaskName
  readonly share: number
  readonly promptTokens: { readonly mean: number; readonly cv: number }
  readonly outputTokens: { readonly mean: number; readonly cv: number }
  readonly system: string
}

const APPLICATIONS: readonly Application[] = [
  {
    name: 'contract-reader',
    task: 'in-context-qna',
    share: 0.3,
    promptTokens: { mean: 900, cv: 0.6 },
    outputTokens: { mean: 60, cv: 0.5 },
    system: 'You read contracts and answer with the clause.',
  },
  {
    name: 'story-mill',
    task: 'generic',
    share: 0.2,
    promptTokens: { mean: 60, cv: 0.4 },
    outputTokens: { mean: 520, cv: 0.4 },
    system: 'You write short stories for children.',
  },
  {
    name: 'ticket-triage',
    task: 'sentiment',
    share: 0.35,
    promptTokens: { mean: 240, cv: 0.5 },
    outputTokens: { mean: 24, cv: 0.3 },
    system: 'You name the team that should answer a ticket.',
  },
  {
    name: 'code-helper',
    task: 'qna',
    share: 0.15,
    promptTokens: { mean: 420, cv: 0.8 },
    outputTokens: { mean: 240, cv: 0.7 },
    system: 'You explain and repair programs.',
  },
]

export interface Traffic {
  readonly url: string
  readonly model: string
  readonly callsPerS: number
  readonly seconds: number
  readonly rng: Rng
}

/** What its callers saw. */
export interface Seen {
  readonly sent: number
  readonly failed: number
  readonly meanE2eMs: number
  readonly fromUnixMs: number
  readonly toUnixMs: number
}

const draw = (rng: Rng): Application => {
  let left = rng.next()
  for (const one of APPLICATIONS) {
    left -= one.share
    if (left < 0) return one
  }
  return APPLICATIONS[0] as Application
}

/** Mean work of a call: what capacity is reckoned with. */
export function drawLengths(rng: Rng): { readonly promptTokens: number; readonly outputTokens: number } {
  const { promptTokens, outputTokens } = draw(rng)
  return { promptTokens: whole(promptTokens, rng), outputTokens: whole(outputTokens, rng) }
}

const whole = (lengths: Application['promptTokens'], rng: Rng): number => Math.max(4, Math.min(6_000, Math.round(logNormal(lengths, rng))))

/** Sends Poisson traffic whose rate swings by a quarter, and waits for every answer. */
export async function sendTraffic({ url, model, callsPerS, seconds, rng }: Traffic): Promise<Seen> {
  const dispatcher = new Agent({ connections: 512, pipelining: 1, keepAliveTimeout: 30_000 })
  const [arrivals, contents] = [rng.stream('arrivals'), rng.stream('contents')]
  const calls: Promise<MeasuredCall>[] = []
  const startMs = systemClock.nowMs()
  const fromUnixMs = systemClock.nowUnixMs()
  const { origin } = new URL(url)
  for (let atMs = 0; ; ) {
    const swing = 1 + 0.25 * Math.sin((2 * Math.PI * atMs) / 20_000)
    atMs += (1_000 * arrivals.exponential()) / (callsPerS * swing)
    if (atMs > 1_000 * seconds) break
    const waitMs = startMs + atMs - systemClock.nowMs()
    if (waitMs > 1) await sleep(waitMs)
    calls.push(sendCall({ origin, path: '/v1/chat/completions', ...request(model, contents) }, { dispatcher, clock: systemClock }))
  }
  const answered = await Promise.all(calls)
  await dispatcher.close()
  const good = answered.filter((one) => one.ok)
  return {
    sent: answered.length,
    failed: answered.length - good.length,
    meanE2eMs: good.reduce((sum, one) => sum + one.e2eMs, 0) / good.length,
    fromUnixMs,
    toUnixMs: systemClock.nowUnixMs(),
  }
}

function request(model: string, rng: Rng) {
  const { name, task, system, promptTokens, outputTokens } = draw(rng)
  const content = promptText({ promptTokens: whole(promptTokens, rng), task, seed: seedOf(`${rng.next()}`) })
  const messages = [
    { role: 'system', content: system },
    { role: 'user', content },
  ]
  return {
    headers: {
      'content-type': 'application/json',
      'x-phasewise-application': name,
      'x-virtual-output-tokens': String(whole(outputTokens, rng)),
    },
    body: JSON.stringify({ model, messages, stream: rng.int(4) > 0 }),
  }
}
