import type { Clock } from './clock.ts'
import { databasePath } from './log/migrate.ts'
import { openReader } from './log/read/reader.ts'
import { readInstanceNames, readStoredCalls, type StoredRow } from './log/read/stored-calls.ts'
import { CanaryGuard } from './outcome/guard.ts'
import { momentOf, type SwitchbackPlan } from './placement/switchback.ts'

export interface WarmingParts {
  readonly dataDir: string
  readonly clock: Clock
  readonly plan: SwitchbackPlan
  readonly timeFactor: number
}

/** Stored calls that a guard is told of before a canary begins: it needs some twenty half minutes of control to know how far that strays. */
const BACK_MS = 45 * 60_000
const CALLS_MAX = 40_000
/** Calls told between two turns of the event loop: under a millisecond. */
const AT_ONCE = 100

/** A guard per pool that knows the stored calls of the last while, as if it had watched them; empty where there are none. */
export async function warmGuards({ dataDir, clock, plan, timeFactor }: WarmingParts): Promise<ReadonlyMap<string, CanaryGuard>> {
  const guards = new Map<string, CanaryGuard>()
  const toUnixMs = clock.nowUnixMs()
  // The guard's times are monotonic ones.
  const shiftMs = clock.nowMs() - toUnixMs
  const reader = openReader(databasePath(dataDir, 'log'))
  try {
    const names = reader.read(readInstanceNames)
    const events: Event[] = []
    for (const row of readStoredCalls(reader, { fromUnixMs: toUnixMs - BACK_MS, toUnixMs, decisions: false })) {
      if (row.instanceId === null) continue
      events.push(...eventsOf(row))
      if (events.length % (3 * AT_ONCE) < 3) await new Promise((resolve) => setImmediate(resolve))
    }
    events.sort((a, b) => a.atUnixMs - b.atUnixMs)
    for (const [i, event] of events.slice(-3 * CALLS_MAX).entries()) {
      tell(event, { guards, plan, timeFactor, shiftMs, names })
      if (i % (3 * AT_ONCE) === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    return guards
  } finally {
    reader.close()
  }
}

interface Event {
  readonly atUnixMs: number
  readonly what: 'placed' | 'first token' | 'ended'
  readonly row: StoredRow
}

function eventsOf(row: StoredRow): Event[] {
  const { arrivedUnixMs, placedMs, ttftMs, e2eMs } = row
  const at = (ms: number, what: Event['what']): Event => ({ atUnixMs: arrivedUnixMs + ms, what, row })
  const first = ttftMs === null ? [] : [at(Math.max(placedMs, ttftMs), 'first token')]
  return [at(placedMs, 'placed'), ...first, at(Math.max(placedMs, e2eMs), 'ended')]
}

interface Telling {
  readonly guards: Map<string, CanaryGuard>
  readonly plan: SwitchbackPlan
  readonly timeFactor: number
  readonly shiftMs: number
  readonly names: ReadonlyMap<number, string>
}

function tell({ atUnixMs, what, row }: Event, { guards, plan, timeFactor, shiftMs, names }: Telling): void {
  const guard = guards.get(row.pool) ?? new CanaryGuard()
  guards.set(row.pool, guard)
  const nowMs = (atUnixMs + shiftMs) * timeFactor
  if (what === 'first token') {
    guard.firstToken(row.callId, nowMs)
    return
  }
  if (what === 'ended') {
    guard.ended(row.callId, { nowMs, ok: row.outcome !== 'instance error' && row.outcome !== 'timed out' })
    return
  }
  const { block } = momentOf(plan, atUnixMs)
  guard.placed({
    callId: row.callId,
    // A challenger's calls of an earlier canary are no yardstick, nor are those behind its blocks; they only weigh on the load.
    arm: row.washout === 1 || row.arm === 'challenger' ? 'washout' : 'control',
    block,
    nowMs,
    heldMs: row.heldMs * timeFactor,
    decisionMs: row.decisionUs / 1_000,
    instance: names.get(row.instanceId ?? 0) ?? '',
    fellBack: false,
    promptTokens: row.promptTokens ?? row.promptTokensEstimate,
    predictedOutputTokens: row.predictedOutputTokens ?? Number.NaN,
  })
}
