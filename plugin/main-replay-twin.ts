import { unixMsOfId } from './call/id.ts'
import { openReader } from './log/read/reader.ts'
import { readTraffic, readTrafficFleet, readTrafficPools, type TimeRange } from './log/read/traffic.ts'
import { calibrateFleet, namedFleet } from './simulation/log-replay/calibrate.ts'
import { AS_LOGGED, keepsState, replayUnder } from './simulation/log-replay/log-replay.ts'
import { formatTwinReplay, type PoolReplay } from './simulation/log-replay/report.ts'
import { profileNamed } from './simulation/profiles.ts'

export interface TwinReplayCommand {
  readonly db: string
  readonly from?: string
  readonly to?: string
  readonly policies?: string
  readonly profile?: readonly string[]
  readonly json?: true
}

/** Policies compared where none are named. */
const POLICIES_DEFAULT = 'round-robin,least-request,least-kv,least-kv + kv-time'

/**
 * `phasewise replay --twin`: what stored calls would have cost under other policies. The same log, range and policies print the same bytes. 0; 1 when there are
 * no calls in the range.
 */
export function runTwinReplay(command: TwinReplayCommand): number {
  const range = { fromUnixMs: parseTime(command.from, 0), toUnixMs: parseTime(command.to, unixMsOfId(Number.MAX_SAFE_INTEGER)) }
  const policies = (command.policies ?? POLICIES_DEFAULT).split(',').map((one) => one.trim())
  // A policy that keeps state has to see what it would have seen; and what is compared starts from the same moment.
  const played = policies.some(keepsState) ? { ...range, fromUnixMs: 0 } : range
  const reader = openReader(command.db)
  try {
    const stored = reader.read((query) =>
      readTrafficPools(query, range).map((pool) => ({
        pool,
        calls: readTraffic(query, pool, played),
        instances: readTrafficFleet(query, pool, played),
      })),
    )
    const pools = stored.map((one) => replayPool(one, { range, policies, ...(command.profile ? { profiles: command.profile } : {}) }))
    console.log(command.json ? JSON.stringify(pools) : formatTwinReplay(pools))
    return pools.length > 0 ? 0 : 1
  } finally {
    reader.close()
  }
}

interface Stored {
  readonly pool: string
  readonly calls: ReturnType<typeof readTraffic>
  readonly instances: ReturnType<typeof readTrafficFleet>
}

interface Asked {
  readonly range: TimeRange
  readonly policies: readonly string[]
  readonly profiles?: readonly string[]
}

function replayPool({ pool, calls, instances }: Stored, { range, policies, profiles }: Asked): PoolReplay {
  const calibrated = profiles ? undefined : calibrateFleet(instances, calls)
  const fleet = calibrated?.map((one) => one.spec) ?? namedFleet(instances, (name) => profileNamed(profileFor(name, profiles ?? [])))
  const input = { calls, fleet, countedFromUnixMs: range.fromUnixMs }
  const counted = calls.filter((call) => call.arrivedUnixMs >= range.fromUnixMs)
  const answered = counted.filter((call) => call.outcome === 'completed')
  return {
    pool,
    calls: counted.length,
    warmUpCalls: calls.length - counted.length,
    logged: {
      answered: answered.length,
      meanE2eMs: answered.reduce((sum, call) => sum + call.e2eMs, 0) / answered.length,
      meanTtftMs: meanKnown(answered.map((call) => call.ttftMs)),
    },
    fleet: fleet.map(({ name, profile }, i) => ({
      name,
      profile: profile.name,
      kvBlocks: profile.kvBlocks,
      ...(calibrated ? { calls: calibrated[i]?.calls ?? 0, e2eError: calibrated[i]?.e2eError ?? Number.NaN } : {}),
    })),
    policies: [AS_LOGGED, ...policies].map((policy) => ({ policy, score: replayUnder(policy, input) })),
  }
}

/** `INSTANCE=PROFILE` for this instance, else the one name given for all. */
function profileFor(instance: string, profiles: readonly string[]): string {
  const own = profiles.find((text) => text.startsWith(`${instance}=`))
  const all = profiles.find((text) => !text.includes('='))
  if (own) return own.slice(instance.length + 1)
  if (!all) throw new Error(`--profile names none for ${instance}: add ${instance}=PROFILE, or one name for all`)
  return all
}

function meanKnown(values: readonly (number | null)[]): number {
  const known = values.filter((value) => value !== null)
  return known.reduce((sum, value) => sum + value, 0) / known.length
}

/** Unix ms from ISO 8601 or from digits. Throws on anything else. */
function parseTime(text: string | undefined, absent: number): number {
  if (text === undefined) return absent
  const unixMs = /^\d{10,}$/.test(text) ? Number(text) : Date.parse(text)
  if (Number.isNaN(unixMs)) throw new Error(`${JSON.stringify(text)} is no time; write 2026-01-31T12:00:00Z or Unix ms`)
  return unixMs
}
