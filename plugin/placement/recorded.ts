import type { Call } from '../call/call.ts'
import type { DispatchView, InstanceView, LedgerView, ScrapeView } from '../fleet/instance.ts'
import { AT, CALL_AT, type CandidateColumnName } from './features.ts'

/** An instance as its row tells it. The calls in flight are not in the row one by one: as many like their mean stand for them. */
export function recordedInstance(row: Float32Array, { slot, name }: { readonly slot: number; readonly name: string }): InstanceView {
  const at = (column: CandidateColumnName): number => row[AT[column]] as number
  const ledger: LedgerView = {
    inFlight: at('inFlight'),
    prefillTokensPending: at('prefillTokensPending'),
    promptTokens: at('promptTokensInFlight'),
    outputTokensLeft: at('outputTokensLeft'),
    outputTokensDone: at('outputTokensDone'),
    placed: 0,
    awaitingFirstToken: at('awaitingFirstToken'),
    awaitingWhole: 0,
    open: () => meanDispatches(at),
  }
  const capacity = at('kvTokensCapacity')
  const believed = at('kvTokensBelieved')
  const scrape: ScrapeView = {
    ageMs: () => (Number.isNaN(at('scrapeAge')) ? Number.POSITIVE_INFINITY : at('scrapeAge')),
    waiting: at('waiting'),
    running: at('running'),
    kvUsageRatio: at('kvUsage'),
    kvBlocks: capacity / 16,
    kvBlockTokens: 16,
    prefixHitRatio: Number.NaN,
    foreignInFlight: at('foreignInFlight'),
    waitingMost: at('waitingBelieved'),
    kvTokensUnseen: Number.isNaN(believed) ? Number.NaN : believed - at('promptTokensInFlight') - at('outputTokensDone'),
    adapters: new Set(),
  }
  return {
    slot,
    name,
    pool: '',
    url: name,
    state: 'healthy',
    speed: at('speed'),
    weight: at('weight'),
    slowStartRatio: at('slowStart'),
    // The row has no pace of whole answers: calls are taken to be as far as was counted.
    wholePaceMs: Number.NaN,
    ledger,
    scrape,
  }
}

function meanDispatches(at: (column: CandidateColumnName) => number): DispatchView[] {
  const inFlight = Math.max(0, Math.round(at('inFlight')))
  const awaiting = Math.min(inFlight, Math.max(0, Math.round(at('awaitingFirstToken'))))
  const running = inFlight - awaiting
  const awaitingPrompt = awaiting > 0 ? at('prefillTokensPending') / awaiting : 0
  const runningPrompt = running > 0 ? Math.max(0, at('promptTokensInFlight') - at('prefillTokensPending')) / running : 0
  const done = running > 0 ? at('outputTokensDone') / running : 0
  const left = inFlight > 0 ? at('outputTokensLeft') / inFlight : 0
  return Array.from({ length: inFlight }, (_, i): DispatchView => {
    const waits = i >= running
    // Spread evenly from nothing to twice the mean, as calls that began at different times are.
    const spread = waits ? 1 : (2 * (i + 0.5)) / running
    return {
      stream: true,
      promptTokens: waits ? awaitingPrompt : runningPrompt,
      uncachedPromptTokens: waits ? awaitingPrompt : runningPrompt,
      predictedOutputTokens: waits ? left : done + left * spread,
      dispatchedMs: i - inFlight,
      firstTokenMs: waits ? Number.NaN : i - inFlight,
      outputTokens: waits ? 0 : done,
    }
  })
}

const NO_BLOCKS = new BigUint64Array(0)
const NO_FEATURES = new Uint32Array(0)

/** The call as its row tells it: whatever else it was is not recorded. */
export function recordedCall(row: Float32Array): Call {
  const at = (column: keyof typeof CALL_AT): number => row[CALL_AT[column]] as number
  const maxTokens = at('maxTokens')
  return {
    callId: 0,
    arrivedUnixMs: 0,
    api: 'openai-chat',
    model: '',
    stream: at('stream') === 1,
    promptBytes: at('promptBytes'),
    request: {
      answers: at('answers'),
      stops: at('stops'),
      tools: at('tools'),
      turns: at('turns'),
      responseFormat: at('jsonDemanded') === 1 ? 'json' : 'text',
      wantsStreamUsage: false,
      systemHash: 0,
      ...(Number.isNaN(maxTokens) ? {} : { maxTokens }),
      ...(Number.isNaN(at('temperature')) ? {} : { temperature: at('temperature') }),
    },
    caller: { application: '', tenant: '', priority: at('priority') },
    prefixBlocks: NO_BLOCKS,
    textFeatures: NO_FEATURES,
  }
}
