import { firstIdAt } from '../../plugin/call/id.ts'
import { systemClock } from '../../plugin/clock.ts'
import { openLog } from '../../plugin/log/open.ts'
import type { CallRow } from '../../plugin/log/rows.ts'
import { AT, CALL_COLUMNS, CANDIDATE_COLUMNS, FEATURE_HASH } from '../../plugin/placement/features.ts'
import { createPolicy } from '../../plugin/placement/policies.ts'
import { LENGTH_FEATURE_HASH, ROW_WIDTH } from '../../plugin/prediction/length-model.ts'
import { createRng, type Rng } from '../../plugin/rng.ts'
import { Simulation } from '../../plugin/simulation/fleet/simulation.ts'
import type { CallEnd } from '../../plugin/simulation/fleet/simulation-options.ts'
import { KV_BLOCK_TOKENS, profileNamed } from '../../plugin/simulation/profiles.ts'
import { generateCalls } from '../../plugin/simulation/scenario/generated.ts'
import { drawPaper } from '../../plugin/simulation/scenario/mixes.ts'
import { KEEP_ALL, START_UNIX_MS } from '../log/row.ts'

/** A fleet of unequal instances, as its log tells of it. */
export const MADE_FLEET = [
  { name: 'old-1', profile: profileNamed('v100-32g') },
  { name: 'old-2', profile: profileNamed('v100-32g') },
  { name: 'new-1', profile: profileNamed('a100-7b') },
]

const keyOf = (name: string) => ({ pool: 'llama', name, url: `http://10.1.0.1/${name}` })

/** Rows as the router would have logged them: the calls of a twin under least-request, with what the length model would have read. */
export function madeRows(plan: MadePlan): CallRow[] {
  const rows: CallRow[] = []
  eachMadeRow(plan, (row) => void rows.push(row))
  return rows.sort((a, b) => a.call.callId - b.call.callId)
}

export interface MadePlan {
  readonly calls: number
  readonly seed: number
  readonly callsPerS?: number
}

/** The same rows one by one, in order of their ends, so that a log of any length fits into memory. */
export function eachMadeRow(plan: MadePlan, take: (row: CallRow) => void): void {
  const rng = createRng(plan.seed)
  const policy = createPolicy('least-request')
  const simulation = new Simulation({
    fleet: MADE_FLEET,
    calls: generateCalls({ mix: drawPaper, callsPerS: plan.callsPerS ?? 30, calls: plan.calls, sigma: 0.5, rng: rng.stream('calls') }),
    policy: () => policy,
    policyName: 'least-request',
    rng: rng.stream('policy'),
    onEnd: (end) => take(rowOf(end, rng)),
  })
  simulation.run()
}

function rowOf(end: CallEnd, rng: Rng): CallRow {
  const arrivedUnixMs = START_UNIX_MS + end.arrivedMs
  const { name } = MADE_FLEET[end.instance] as (typeof MADE_FLEET)[number]
  const { application, tenant, task } = end.call.call.caller
  const e2eMs = end.endedMs - end.arrivedMs
  const others = MADE_FLEET.filter((one) => one.name !== name).map((one) => keyOf(one.name))
  const instances = [keyOf(name), ...others]
  const attempt = { instance: keyOf(name), startedMs: end.placedMs - end.arrivedMs, endedMs: e2eMs, outcome: 'completed' as const }
  return {
    kind: 'call',
    gateway: 'openai',
    pool: 'llama',
    call: {
      callId: firstIdAt(arrivedUnixMs) + (end.index % 4_096),
      arrivedUnixMs,
      api: 'openai-chat',
      model: 'llama',
      stream: true,
      promptBytes: 4 * end.call.promptTokens,
      caller: { application, tenant, priority: 0, ...(task === undefined ? {} : { task }) },
    },
    textFeatures: Uint32Array.from({ length: 8 }, () => rng.int(1_000)),
    lengthRow: { featureHash: LENGTH_FEATURE_HASH, row: new Uint16Array(lengthRow(end.outputTokens, rng).buffer) },
    instance: keyOf(name),
    decision: {
      policy: 'least-request',
      reason: 'lowest cost',
      propensity: 1,
      explored: false,
      policyVersion: 'none',
      lengthVersion: 'none',
      decisionUs: 10,
      heldMs: 0,
      promptTokensEstimate: end.call.promptTokens,
      predictedOutputTokens: end.call.predictedTokens,
      placedMs: 0.01 + rng.next() / 100,
    },
    candidates: {
      featureHash: FEATURE_HASH,
      total: instances.length,
      instances,
      features: features(instances.map((one) => one.name)),
      costs: new Float32Array(instances.length),
    },
    attempts: [attempt],
    outcome: {
      kind: 'completed',
      status: 200,
      ttftMs: end.firstTokenMs - end.arrivedMs,
      ...(end.outputTokens > 1 ? { tpotMs: (end.endedMs - end.firstTokenMs) / (end.outputTokens - 1) } : {}),
      e2eMs,
      promptTokens: end.call.promptTokens,
      outputTokens: end.outputTokens,
      tokensFrom: 'usage',
      censored: false,
      finishReason: 'stop',
    },
  }
}

/** A reading that tells the length by halves, so that there is something to learn. */
function lengthRow(outputTokens: number, rng: Rng): Float16Array {
  const row = new Float16Array(ROW_WIDTH)
  row[0] = Math.log(outputTokens) + 0.4 * rng.normal()
  for (let i = 1; i < 12; i++) row[i] = rng.normal()
  return row
}

function features(names: readonly string[]): Float32Array {
  const rows = new Float32Array(CALL_COLUMNS.length + names.length * CANDIDATE_COLUMNS.length)
  names.forEach((name, k) => {
    const at = CALL_COLUMNS.length + k * CANDIDATE_COLUMNS.length
    const profile = MADE_FLEET.find((one) => one.name === name)?.profile
    rows[at + AT.speed] = 1
    rows[at + AT.kvTokensCapacity] = (profile?.kvBlocks ?? 0) * KV_BLOCK_TOKENS
  })
  return rows
}

/** Writes rows into the data directory's log. */
export async function writeLog(dataDir: string, rows: readonly CallRow[]): Promise<void> {
  const log = await openLog({ dataDir, clock: systemClock, retention: KEEP_ALL, warn: () => undefined, rowsMax: rows.length + 1 })
  for (const row of rows) log.append(row)
  await log.flush()
  await log.close()
}
