import { firstIdAt } from '../../plugin/call/id.ts'
import type { CallRow, InstanceKey, NowRow, ScrapeRow } from '../../plugin/log/rows.ts'
import { CALL_COLUMNS, CANDIDATE_COLUMNS, FEATURE_HASH } from '../../plugin/placement/features.ts'

/** When the calls of these tests arrive, unless they say otherwise. */
export const START_UNIX_MS = 1_767_225_600_000

/** Room for everything: retention that never deletes. */
export const KEEP_ALL = { days: 36_500, bytes: 1e12 }

export function instanceKey(number: number): InstanceKey {
  return { pool: 'llama', name: `fast-${number}`, url: `http://127.0.0.1:${9_000 + number}` }
}

const keys = Array.from({ length: 64 }, (_, i) => instanceKey(i))

/** The `number`th call, a millisecond after the one before, with all columns filled and `candidates` of them. */
export function callRow(
  number: number,
  change: Partial<CallRow> & { arrivedUnixMs?: number; candidates?: CallRow['candidates'] } = {},
): CallRow {
  const arrivedUnixMs = change.arrivedUnixMs ?? START_UNIX_MS + number
  const instances = [0, 1, 2, 3].map((i) => keys[(number + i) % 4]!)
  const features = Float32Array.from({ length: CALL_COLUMNS.length + 4 * CANDIDATE_COLUMNS.length }, (_, i) => number + i / 3)
  features[3] = Number.NaN
  return {
    kind: 'call',
    gateway: 'openai',
    pool: 'llama',
    call: {
      callId: firstIdAt(arrivedUnixMs) + (change.arrivedUnixMs === undefined ? 0 : number % 4_096),
      arrivedUnixMs,
      api: 'openai-chat',
      model: 'llama-2-7b',
      stream: true,
      promptBytes: 1_200,
      caller: { application: 'chat', tenant: 'chat', priority: 0, task: 'qa' },
      maxTokens: 256,
    },
    textFeatures: new Uint32Array([7, 0xffff_ffff, number]),
    instance: instances[0]!,
    decision: {
      policy: 'least-request-speed',
      reason: 'lowest cost',
      propensity: 0.9925,
      explored: false,
      policyVersion: 'none',
      lengthVersion: 'none',
      decisionUs: 4.25,
      heldMs: 0,
      promptTokensEstimate: 301.5,
      predictedOutputTokens: 100.5,
      placedMs: 0.375,
    },
    candidates: { featureHash: FEATURE_HASH, total: 4, instances, features, costs: new Float32Array([1.5, 2, Number.NaN, 4]) },
    attempts: [{ instance: instances[0]!, startedMs: 0.375, endedMs: 1_200.5, outcome: 'completed' }],
    outcome: {
      kind: 'completed',
      status: 200,
      ttftMs: 120 + (number % 50),
      tpotMs: 22.5,
      e2eMs: 1_200.5,
      promptTokens: 302,
      outputTokens: 99,
      tokensFrom: 'usage',
      censored: false,
      finishReason: 'stop',
    },
    ...change,
  }
}

export function scrapeRow(number: number, takenUnixMs: number): ScrapeRow {
  const load = { waiting: 1, running: 2, kvUsageRatio: 0.5, inFlight: 3, foreignInFlight: Number.NaN }
  return { kind: 'scrape', instance: instanceKey(number), takenUnixMs, ...load, state: 'healthy' }
}

export function nowRow(seenUnixMs: number, instances: readonly number[]): NowRow {
  const pools = [{ name: 'llama', policy: 'least-request-speed', models: ['llama-2-7b'] }]
  const unknown = { waiting: Number.NaN, running: Number.NaN, kvUsageRatio: Number.NaN, foreignInFlight: Number.NaN, prefixHitRatio: 0.25 }
  const load = { inFlight: 2, prefillTokensPending: 10, outputTokensLeft: 20.5, placed: 7, expectedShareRatio: 0.5 }
  const fleet = instances.map((number) => ({
    instance: instanceKey(number),
    state: 'healthy',
    speed: 1.5,
    weight: 1,
    slowStartRatio: 1,
    scrapeAgeMs: Number.POSITIVE_INFINITY,
    ...load,
    ...unknown,
  }))
  return { kind: 'now', seenUnixMs, router: { pid: 4711, startedUnixMs: START_UNIX_MS, ready: true, version: '0.1.0', pools }, fleet }
}
