import type { Call } from '../../plugin/call/call.ts'
import type { DispatchView, InstanceView } from '../../plugin/fleet/instance.ts'
import { type CandidateInput, createWorkbench } from '../../plugin/placement/candidates.ts'
import type { Candidates, Distribution } from '../../plugin/placement/policy.ts'

/** What a test says of one instance; the rest is idle and unknown. */
export interface Sketch {
  readonly name?: string
  readonly inFlight?: number
  readonly prefillTokensPending?: number
  readonly promptTokens?: number
  readonly speed?: number
  readonly weight?: number
  readonly waiting?: number
  readonly kv?: number
  readonly adapters?: readonly string[]
  readonly running?: number
  readonly foreignInFlight?: number
  readonly outputTokensLeft?: number
  readonly outputTokensDone?: number
  readonly awaitingFirstToken?: number
  readonly awaitingWhole?: number
  readonly waitingMost?: number
  readonly kvTokensUnseen?: number
  /** In blocks of 16 tokens. */
  readonly kvBlocks?: number
  readonly scrapeAgeMs?: number
  readonly placed?: number
  readonly open?: readonly Partial<DispatchView>[]
  readonly wholePaceMs?: number
}

export function sketchInstance(sketch: Sketch, slot: number): InstanceView {
  return {
    slot,
    name: sketch.name ?? `i${slot}`,
    pool: 'pool',
    url: `http://10.0.0.${slot + 1}:8000`,
    state: 'healthy',
    speed: sketch.speed ?? 1,
    weight: sketch.weight ?? 1,
    slowStartRatio: 1,
    wholePaceMs: sketch.wholePaceMs ?? Number.NaN,
    ledger: {
      inFlight: sketch.inFlight ?? 0,
      prefillTokensPending: sketch.prefillTokensPending ?? 0,
      promptTokens: sketch.promptTokens ?? 0,
      outputTokensLeft: sketch.outputTokensLeft ?? 0,
      outputTokensDone: sketch.outputTokensDone ?? 0,
      placed: sketch.placed ?? 0,
      awaitingFirstToken: sketch.awaitingFirstToken ?? 0,
      awaitingWhole: sketch.awaitingWhole ?? 0,
      open: () => (sketch.open ?? []).map(sketchDispatch),
    },
    scrape: {
      ageMs: () => sketch.scrapeAgeMs ?? 10,
      waiting: sketch.waiting ?? Number.NaN,
      running: sketch.running ?? Number.NaN,
      kvUsageRatio: sketch.kv ?? Number.NaN,
      kvBlocks: sketch.kvBlocks ?? Number.NaN,
      kvBlockTokens: sketch.kvBlocks === undefined ? Number.NaN : 16,
      prefixHitRatio: Number.NaN,
      foreignInFlight: sketch.foreignInFlight ?? Number.NaN,
      waitingMost: sketch.waitingMost ?? Number.NaN,
      kvTokensUnseen: sketch.kvTokensUnseen ?? Number.NaN,
      adapters: new Set(sketch.adapters ?? []),
    },
  }
}

function sketchDispatch(given: Partial<DispatchView>): DispatchView {
  const promptTokens = given.promptTokens ?? 100
  return {
    stream: true,
    promptTokens,
    uncachedPromptTokens: promptTokens,
    predictedOutputTokens: 50,
    dispatchedMs: 0,
    firstTokenMs: Number.NaN,
    outputTokens: 0,
    ...given,
  }
}

export function sketchCall(change: Partial<Call> = {}): Call {
  return {
    callId: 1,
    arrivedUnixMs: 1_800_000_000_000,
    api: 'openai-chat',
    model: 'm',
    stream: true,
    promptBytes: 400,
    request: { answers: 1, stops: 0, tools: 0, turns: 1, responseFormat: 'text', wantsStreamUsage: false, systemHash: 0 },
    caller: { application: 'app', tenant: 'app', priority: 0 },
    prefixBlocks: new BigUint64Array(0),
    textFeatures: new Uint32Array(0),
    ...change,
  } as Call
}

/** Candidates and room for a distribution over them, rows filled as the router fills them. */
export function sketchCandidates(
  sketches: readonly Sketch[],
  change: Partial<CandidateInput> = {},
): { candidates: Candidates; out: Distribution; call: Call } {
  const workbench = createWorkbench()
  const call = change.call ?? sketchCall()
  const candidates = workbench.fill({
    call,
    facts: { promptTokens: 100, predictedOutputTokens: 50 },
    instances: sketches.map(sketchInstance),
    count: sketches.length,
    matchedBlocks: [],
    nowMs: 0,
    ...change,
  })
  return { candidates, out: workbench.out, call }
}
