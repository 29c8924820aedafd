import type { Clock } from './clock.ts'
import type { Fleet } from './fleet/fleet.ts'
import { type FleetIntentKind, isFleetIntent } from './log/control/fleet-changes.ts'
import { ACCEPT_CHANGE } from './log/control/instance-changes.ts'
import type { Intent, Log } from './log/rows.ts'
import type { LiveRouter } from './router-place.ts'
import type { Reading, Telemetry } from './telemetry/telemetry.ts'

/** What moves by time alone: the fleet's clockwork, hung calls, and the rows that show the fleet as it is now. */
export interface BeatParts {
  readonly fleet: Fleet
  readonly router: LiveRouter
  readonly log: Log
  readonly telemetry: Pick<Telemetry, 'observe'>
  readonly clock: Clock
  readonly facts: {
    readonly pid: number
    readonly version: string
    /** As they are now: settings may change while the router runs. */
    readonly pools: () => readonly { readonly name: string; readonly policy: string; readonly models: readonly string[] }[]
  }
}

/** Health, slow start and held calls' deadlines move at this pace; a tenth of the shortest ejection. */
const TICK_MS = 100
/** Fleet and Overview are at most this old, plus the log's 100 ms. */
const SHOW_MS = 1_000

/** Starts the beat; the function returned stops it. */
export function startBeat(parts: BeatParts): () => void {
  const { fleet, router, clock } = parts
  const startedUnixMs = clock.nowUnixMs()
  const tick = setInterval(() => {
    fleet.tick(clock.nowMs())
    router.tick(clock.nowMs())
  }, TICK_MS)
  const show = (): void => {
    router.abortStalled(clock.nowMs())
    append(parts, startedUnixMs)
  }
  show()
  const shown = setInterval(show, SHOW_MS)
  parts.telemetry.observe(() => readings(parts))
  return () => {
    clearInterval(tick)
    clearInterval(shown)
  }
}

function append({ fleet, router, log, clock, facts }: BeatParts, startedUnixMs: number): void {
  const rows = fleet.rows(clock.nowMs())
  const seenUnixMs = clock.nowUnixMs()
  const holds = new Map(router.holds().map((hold) => [hold.pool, hold]))
  const pools = facts.pools().map((pool) => {
    const hold = holds.get(pool.name)
    const shown = router.isOff() ? { ...pool, off: true as const } : pool
    if (!hold) return shown
    const { order, held, offReason } = hold
    return { ...shown, hold: { order, held, ...(offReason === undefined ? {} : { offReason }) } }
  })
  log.append({
    kind: 'now',
    seenUnixMs,
    router: { pid: facts.pid, startedUnixMs, ready: router.ready(), version: facts.version, pools },
    fleet: rows,
  })
  for (const { instance, waiting, running, kvUsageRatio, inFlight, foreignInFlight, state } of rows)
    log.append({ kind: 'scrape', instance, takenUnixMs: seenUnixMs, waiting, running, kvUsageRatio, inFlight, foreignInFlight, state })
}

function* readings({ fleet, router, log, clock }: BeatParts): Iterable<Reading> {
  for (const { pool, held } of router.holds()) yield { name: 'held', value: held, pool }
  for (const { instance, inFlight } of fleet.rows(clock.nowMs()))
    yield { name: 'inFlight', value: inFlight, pool: instance.pool, instance: instance.name }
  const { queuedRows, droppedRows, writtenRows } = log.stats()
  yield { name: 'logQueue', value: queuedRows }
  yield { name: 'logDropped', value: droppedRows }
  yield { name: 'logWritten', value: writtenRows }
}

/** Obeys an intent; the answer is shown beside it. Throws in words when it cannot be obeyed. */
export function obeyIntent(
  {
    fleet,
    router,
    changed,
    changes,
  }: {
    readonly fleet: Pick<Fleet, 'drain' | 'undrain' | 'instance'>
    readonly router: Pick<LiveRouter, 'switchOff'>
    /** Who keeps the fleet's list. */
    readonly changed: { obey(kind: FleetIntentKind, subject: unknown): string }
    /** Who knows which instances are not what they were. */
    readonly changes: { accept(pool: string, instance: string): string }
  },
  intent: Intent,
): string {
  const { kind } = intent
  if (kind === 'switch off' || kind === 'switch on') {
    router.switchOff(kind === 'switch off')
    return kind === 'switch off' ? 'every pool is placed by its fallback policy' : 'every pool is placed by its own policy again'
  }
  if (isFleetIntent(kind)) return changed.obey(kind, intent.subject)
  if (kind !== 'drain' && kind !== 'undrain' && kind !== ACCEPT_CHANGE)
    throw new Error(`this router does not know the intent ${JSON.stringify(kind)}`)
  const { pool, instance } = (intent.subject ?? {}) as { pool?: unknown; instance?: unknown }
  if (typeof pool !== 'string' || typeof instance !== 'string') throw new Error('the intent names no pool and instance')
  if (kind === ACCEPT_CHANGE) return changes.accept(pool, instance)
  if (!fleet.instance(pool, instance)) throw new Error(`there is no instance ${instance} in pool ${pool}`)
  const moved = kind === 'drain' ? fleet.drain(pool, instance) : fleet.undrain(pool, instance)
  return moved ? `${instance} ${kind === 'drain' ? 'takes no new calls' : 'takes calls again'}` : `${instance} was so already`
}
