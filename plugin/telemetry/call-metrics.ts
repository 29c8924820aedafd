import type { Attributes } from '@opentelemetry/api'
import type { Call } from '../call/call.ts'
import type { InstanceView } from '../fleet/instance.ts'
import type { Outcome } from '../outcome/outcome.ts'
import type { Placement } from '../placement/policy.ts'
import { errorTypeOf, genAiAttributes, serverAttributes } from './conventions.ts'
import { GEN_AI, LOOP } from './metrics.ts'
import type { CounterCell, HistogramCell, SeriesTable } from './series.ts'

/** One settled call as the metrics see it. */
export interface SettledCall {
  readonly call: Pick<Call, 'api' | 'model' | 'stream'>
  readonly gateway: string
  readonly pool: string
  /** What answers: the pool's engine. */
  readonly provider: string
  /** As the instance named it, where it did. */
  readonly responseModel?: string
  /** The instance of the last attempt; absent where the call was never placed. */
  readonly instance?: Pick<InstanceView, 'url'>
  readonly placement?: Pick<Placement, 'policy' | 'reason' | 'explored'>
  readonly decisionUs: number
  /** 0 where the call was placed at once. */
  readonly heldMs: number
  /** Attempts made, the first included. */
  readonly attempts: number
  readonly outcome: Outcome
}

interface GenAiCells {
  readonly duration: HistogramCell
  readonly ttft: HistogramCell
  readonly tpot: HistogramCell
  readonly inputTokens: HistogramCell
  readonly outputTokens: HistogramCell
}

interface LoopCells {
  readonly calls: CounterCell
  readonly retries: CounterCell
  readonly decision: HistogramCell
  readonly hold: HistogramCell
}

interface PlacementCells {
  readonly placements: CounterCell
  readonly explored: CounterCell
  readonly fallbacks: CounterCell
}

/**
 * Remembered cells per combination of names; emptied when full, which loses no count: the cells live in the table. Chosen: 64
 * instances × 8 models × 8 error types.
 */
const REMEMBERED_MAX = 4_096

/** Books settled calls into the table. Milliseconds become seconds here. */
export function createCallMetrics(table: SeriesTable): (settled: SettledCall) => void {
  const genAi = new Map<string, GenAiCells>()
  const loop = new Map<string, LoopCells>()
  const placing = new Map<string, PlacementCells>()
  return (settled) => {
    const { call, outcome, placement, pool } = settled
    const errorType = errorTypeOf(outcome)
    const genAiKey = `${settled.instance?.url}\n${call.model}\n${call.api}\n${settled.responseModel}\n${errorType}\n${settled.provider}`
    recordGenAi(genAi.get(genAiKey) ?? remember(genAi, genAiKey, genAiCells(table, settled, errorType)), outcome)
    const loopKey = `${pool}\n${settled.gateway}\n${outcome.kind}`
    recordLoop(loop.get(loopKey) ?? remember(loop, loopKey, loopCells(table, settled)), settled)
    if (!placement) return
    const placingKey = `${pool}\n${placement.policy}\n${placement.reason}`
    const cells = placing.get(placingKey) ?? remember(placing, placingKey, placementCells(table, pool, placement))
    cells.placements.add(1)
    if (placement.explored) cells.explored.add(1)
    if (placement.reason === 'fallback policy') cells.fallbacks.add(1)
  }
}

function recordGenAi(cells: GenAiCells, outcome: Outcome): void {
  cells.duration.record(outcome.e2eMs / 1_000)
  if (outcome.kind === 'completed') {
    if (outcome.ttftMs !== undefined) cells.ttft.record(outcome.ttftMs / 1_000)
    if (outcome.tpotMs !== undefined) cells.tpot.record(outcome.tpotMs / 1_000)
  }
  if (outcome.promptTokens !== undefined) cells.inputTokens.record(outcome.promptTokens)
  if (outcome.outputTokens !== undefined) cells.outputTokens.record(outcome.outputTokens)
}

function recordLoop(cells: LoopCells, settled: SettledCall): void {
  cells.calls.add(1)
  cells.decision.record(settled.decisionUs / 1e6)
  if (settled.heldMs > 0) cells.hold.record(settled.heldMs / 1_000)
  if (settled.attempts > 1) cells.retries.add(settled.attempts - 1)
}

function genAiCells(table: SeriesTable, settled: SettledCall, errorType: string | undefined): GenAiCells {
  const attributes: Attributes = {
    ...genAiAttributes(settled),
    ...(settled.responseModel === undefined ? {} : { 'gen_ai.response.model': settled.responseModel }),
    ...(settled.instance ? serverAttributes(settled.instance) : {}),
  }
  const ended = errorType === undefined ? attributes : { ...attributes, 'error.type': errorType }
  return {
    duration: table.histogram(GEN_AI.requestDuration, ended),
    ttft: table.histogram(GEN_AI.timeToFirstToken, attributes),
    tpot: table.histogram(GEN_AI.timePerOutputToken, attributes),
    inputTokens: table.histogram(GEN_AI.tokenUsage, { ...attributes, 'gen_ai.token.type': 'input' }),
    outputTokens: table.histogram(GEN_AI.tokenUsage, { ...attributes, 'gen_ai.token.type': 'output' }),
  }
}

function loopCells(table: SeriesTable, { pool, gateway, outcome }: SettledCall): LoopCells {
  const ofPool = { 'phasewise.pool': pool }
  return {
    calls: table.counter(LOOP.calls, { ...ofPool, 'phasewise.gateway': gateway, 'phasewise.outcome': outcome.kind }),
    retries: table.counter(LOOP.retries, ofPool),
    decision: table.histogram(LOOP.decisionDuration, ofPool),
    hold: table.histogram(LOOP.holdDuration, ofPool),
  }
}

function placementCells(table: SeriesTable, pool: string, { policy, reason }: Pick<Placement, 'policy' | 'reason'>): PlacementCells {
  const byPolicy = { 'phasewise.pool': pool, 'phasewise.policy': policy }
  return {
    placements: table.counter(LOOP.placements, { ...byPolicy, 'phasewise.reason': reason }),
    explored: table.counter(LOOP.explored, byPolicy),
    fallbacks: table.counter(LOOP.fallbacks, byPolicy),
  }
}

/** Keeps `cells` under `key` and gives them back. */
function remember<T>(known: Map<string, T>, key: string, cells: T): T {
  if (known.size >= REMEMBERED_MAX) known.clear()
  known.set(key, cells)
  return cells
}
