import { databasePath, migrateDataDirectory } from '../../plugin/log/migrate.ts'
import { CALL_COLUMNS, CANDIDATE_COLUMNS, FEATURE_HASH } from '../../plugin/log/read/columns.ts'
import { firstIdAt } from '../../plugin/log/read/ids.ts'
import type { AttemptRow, CallRow, FleetNowRow, InstanceKey, NowRow } from '../../plugin/log/rows.ts'
import { openWriter, type Writer } from '../../plugin/log/writer.ts'
import { createRng, type Rng } from '../../plugin/rng.ts'

/** A made-up fleet's history, written through the log's own writer: believable figures for pages to show. */
export interface HistoryParts {
  readonly dataDir: string
  readonly nowUnixMs: number
  readonly hours: number
  readonly calls: number
  readonly seed: number
  /** Put into every text that callers and configuration decide. */
  readonly poison?: string
}

interface Machine {
  readonly key: InstanceKey
  readonly speed: number
  /** When its running calls end, Unix ms. */
  ends: number[]
  calls: number
}

const BATCH = 500
const STATS = { queuedRows: 3, droppedRows: 0, writtenRows: 0, rejectedRows: 0, threadRestarts: 0 }
const APPLICATIONS = ['support-bot', 'code-review', 'search-summaries', 'nightly-eval', 'sales-mails']

/** Makes both databases in `dataDir` and fills the log; gives the ids of its calls, oldest first. */
export function writeHistory(parts: HistoryParts): number[] {
  migrateDataDirectory({ dataDir: parts.dataDir, nowUnixMs: parts.nowUnixMs })
  const writer = openWriter(databasePath(parts.dataDir, 'log'))
  try {
    return fill(writer, parts)
  } finally {
    writer.close()
  }
}

function fill(writer: Writer, parts: HistoryParts): number[] {
  const { nowUnixMs, hours, calls, poison = '' } = parts
  const rng = createRng(parts.seed)
  const fleet = machines(poison)
  const spanMs = hours * 3_600_000
  const ids: number[] = []
  let rows: CallRow[] = []
  let sequence = 0
  const send = (now?: NowRow): void => {
    const batch = { rows, counters: [], coversAppended: 0, ...(now === undefined ? {} : { now }) }
    writer.write({ source: `history-${parts.seed}`, sequence: ++sequence, batch, stats: STATS })
    rows = []
  }
  for (const at of arrivals({ rng, calls, spanMs })) {
    const arrivedUnixMs = Math.floor(nowUnixMs - spanMs + at)
    const callId = Math.max(firstIdAt(arrivedUnixMs), (ids.at(-1) ?? 0) + 1)
    ids.push(callId)
    rows.push(call({ rng, fleet, arrivedUnixMs, callId, poison }))
    if (rows.length === BATCH) send()
  }
  send(nowRow({ fleet, nowUnixMs, startedUnixMs: nowUnixMs - 9.2 * 86_400_000, poison }))
  return ids
}

/** The log writes a batch of one source and sequence once: each renewal is a source of its own. */
let renewals = 0

/** Renews what the router says of itself and its fleet, as it does each second. */
export function writeNow(parts: {
  readonly dataDir: string
  readonly nowUnixMs: number
  readonly draining?: readonly string[]
  readonly poison?: string
}): void {
  const { nowUnixMs, draining = [], poison = '' } = parts
  const writer = openWriter(databasePath(parts.dataDir, 'log'))
  const now = nowRow({ fleet: machines(poison), nowUnixMs, startedUnixMs: nowUnixMs - 9.2 * 86_400_000, poison, draining })
  writer.write({ source: `now-${++renewals}`, sequence: 1, batch: { rows: [], counters: [], coversAppended: 0, now }, stats: STATS })
  writer.close()
}

/** Times in [0, spanMs), more by day than by night, with a burst now and then. */
function arrivals({ rng, calls, spanMs }: { rng: Rng; calls: number; spanMs: number }): number[] {
  const rate = (at: number): number =>
    0.45 + 0.4 * Math.sin((at / 86_400_000) * 2 * Math.PI - 1.2) ** 2 + (Math.floor(at / 900_000) % 13 === 7 ? 1.1 : 0)
  const times: number[] = []
  while (times.length < calls) {
    const at = rng.next() * spanMs
    if (rng.next() * 2 < rate(at)) times.push(at)
  }
  return times.sort((a, b) => a - b)
}

function machines(poison: string): Machine[] {
  const chat = `llama-8b-chat${poison}`
  const make = (name: string, host: string, speed: number): Machine => ({
    key: { pool: chat, name: `${name}${poison}`, url: `http://${host}:8000${poison}` },
    speed,
    ends: [],
    calls: 0,
  })
  return [make('a100-0', '10.2.0.11', 2), make('a100-1', '10.2.0.12', 2), make('l40s-0', '10.2.0.21', 1), make('l40s-1', '10.2.0.22', 1)]
}

interface CallParts {
  readonly rng: Rng
  readonly fleet: readonly Machine[]
  readonly arrivedUnixMs: number
  readonly callId: number
  readonly poison: string
}

function call(parts: CallParts): CallRow {
  const { rng, fleet, arrivedUnixMs, callId, poison } = parts
  for (const one of fleet) one.ends = one.ends.filter((end) => end > arrivedUnixMs)
  const cost = (one: Machine): number => (one.ends.length + 1) / one.speed
  const lots = new Map(fleet.map((one) => [one, rng.next()]))
  const ranked = [...fleet].sort((a, b) => cost(a) - cost(b) || (lots.get(a) ?? 0) - (lots.get(b) ?? 0))
  const explored = rng.next() < 0.01
  const chosen = (explored ? fleet[rng.int(fleet.length)] : ranked[0]) as Machine
  const order = [chosen, ...ranked.filter((one) => one !== chosen)]
  const promptTokens = Math.round(Math.exp(5.6 + 1.1 * rng.normal()))
  const outputTokens = Math.max(1, Math.round(Math.exp(4.9 + 0.8 * rng.normal())))
  const features = featuresOf({ order, promptTokens })
  const costs = Float32Array.from(order.map(cost))
  const fails = rng.next()
  const retried = fails > 0.992
  const final = retried ? (order[1] as Machine) : chosen
  const heldMs = final.ends.length > 14 ? 80 + 900 * rng.exponential() : 0
  const firstTryMs = heldMs + 0.4
  const startedMs = retried ? firstTryMs + 60 + 100 * rng.next() : firstTryMs
  const load = final.ends.length
  const ttftMs = startedMs + ((promptTokens * 0.5 + 60 + load * 25) / final.speed) * (1 + 0.4 * rng.exponential())
  const tpotMs = ((46 + load * 4) / final.speed) * (0.9 + 0.2 * rng.next())
  const e2eMs = ttftMs + tpotMs * (outputTokens - 1)
  final.ends.push(arrivedUnixMs + e2eMs)
  final.calls++
  const gone = fails < 0.01
  const broken = fails > 0.01 && fails < 0.014
  const attempt = (one: Machine, fromMs: number, toMs: number, error?: string): AttemptRow => ({
    instance: one.key,
    startedMs: fromMs,
    endedMs: toMs,
    outcome: error === undefined ? 'completed' : error === 'aborted' ? 'client gone' : 'instance error',
    ...(error === undefined ? {} : { error }),
  })
  const error = gone ? 'aborted' : broken ? `status 500${poison}` : undefined
  const endMs = error === undefined ? e2eMs : ttftMs + (e2eMs - ttftMs) * 0.4
  const last = attempt(final, startedMs, endMs, error)
  return {
    kind: 'call',
    gateway: rng.next() < 0.8 ? 'openai' : 'envoy',
    pool: final.key.pool,
    call: {
      callId,
      arrivedUnixMs,
      api: 'openai-chat',
      model: `llama-8b-chat${poison}`,
      stream: rng.next() < 0.7,
      promptBytes: promptTokens * 4,
      caller: {
        application: `${APPLICATIONS[rng.int(APPLICATIONS.length)]}${poison}`,
        tenant: `acme${poison}`,
        priority: 0,
        task: `chat${poison}`,
      },
      maxTokens: 1024,
    },
    instance: final.key,
    decision: {
      policy: `least-request-speed${poison}`,
      reason: explored ? 'explored' : costs[0] === costs[1] ? 'tie broken at random' : 'lowest cost',
      propensity: explored ? 0.0025 : 0.9925,
      explored,
      policyVersion: `none${poison}`,
      lengthVersion: `none${poison}`,
      decisionUs: 4 + 6 * rng.next(),
      heldMs,
      promptTokensEstimate: promptTokens * (0.95 + 0.1 * rng.next()),
      placedMs: firstTryMs,
    },
    candidates: { featureHash: FEATURE_HASH, total: order.length, instances: order.map((one) => one.key), features, costs },
    attempts: retried ? [attempt(chosen, firstTryMs, startedMs, `connect${poison}`), last] : [last],
    outcome: {
      kind: last.outcome,
      status: broken ? 500 : 200,
      ...(error === undefined ? {} : { error }),
      ttftMs,
      tpotMs,
      e2eMs: endMs,
      promptTokens,
      cachedPromptTokens: Math.floor(promptTokens * rng.next() * 0.4),
      outputTokens: error === undefined ? outputTokens : Math.ceil(outputTokens * 0.4),
      tokensFrom: 'usage',
      censored: error !== undefined,
      finishReason: `stop${poison}`,
    },
  }
}

function featuresOf({ order, promptTokens }: { readonly order: readonly Machine[]; readonly promptTokens: number }): Float32Array {
  const inFlight = order.reduce((sum, one) => sum + one.ends.length, 0)
  const known: Record<string, number> = { promptTokens, promptBytes: promptTokens * 4, maxTokens: 1024, stream: 1, answers: 1, turns: 3 }
  const callRow = CALL_COLUMNS.map(({ name }) => ({ poolInFlight: inFlight, poolCandidates: order.length, ...known })[name] ?? Number.NaN)
  const rows = order.flatMap((one) => {
    const load = one.ends.length
    const values: Record<string, number> = {
      inFlight: load,
      prefillTokensPending: load * 41,
      promptTokensInFlight: load * 380,
      outputTokensDone: load * 90,
      speed: one.speed,
      weight: 1,
      slowStart: 1,
      scrapeAge: 120,
      waiting: Math.max(0, load - 6),
      running: Math.min(6, load),
      kvUsage: Math.min(0.95, 0.08 + load * 0.06),
      foreignInFlight: 0,
      prefixMatch: one.key.name.endsWith('1') ? 0.38 : 0,
    }
    return CANDIDATE_COLUMNS.map(({ name }) => values[name] ?? Number.NaN)
  })
  return Float32Array.from([...callRow, ...rows])
}

function nowRow(parts: {
  readonly fleet: readonly Machine[]
  readonly nowUnixMs: number
  readonly startedUnixMs: number
  readonly poison: string
  readonly draining?: readonly string[]
}): NowRow {
  const { fleet, nowUnixMs, startedUnixMs, poison, draining = [] } = parts
  const speeds = fleet.reduce((sum, one) => sum + one.speed, 0)
  const last = fleet.length - 1
  const rows = fleet.map((one, i): FleetNowRow => {
    const drains = draining.includes(one.key.name)
    return {
      instance: one.key,
      state: drains ? 'draining' : i === last ? 'recovering' : 'healthy',
      ...(drains ? { stateReason: 'drained by an operator' } : i === last ? { stateReason: `back after 3 failed connects${poison}` } : {}),
      speed: one.speed,
      weight: 1,
      slowStartRatio: i === last ? 0.6 : 1,
      inFlight: one.speed === 2 ? 6 + i : 3,
      prefillTokensPending: 412 * one.speed,
      outputTokensLeft: 1_820 * one.speed,
      placed: one.calls,
      waiting: i === last ? Number.NaN : 0,
      running: i === last ? Number.NaN : 6,
      kvUsageRatio: i === last ? Number.NaN : 0.31 + i * 0.07,
      foreignInFlight: i === last ? Number.NaN : 0,
      prefixHitRatio: i === last ? Number.NaN : 0.22,
      scrapeAgeMs: i === last ? Number.POSITIVE_INFINITY : 140,
      expectedShareRatio: one.speed / speeds,
    }
  })
  const pool = { name: fleet[0]?.key.pool ?? '', policy: `least-request-speed${poison}`, models: [`llama-8b-chat${poison}`] }
  return {
    kind: 'now',
    seenUnixMs: nowUnixMs,
    router: { pid: 4242, startedUnixMs, ready: true, version: '0.1.0', pools: [pool] },
    fleet: rows,
  }
}
