import { scaleLaw } from '../../impact/engine-shape.ts'
import type { MachineSpec } from '../fleet/machine.ts'
import { KV_BLOCK_TOKENS, PROFILES, type Profile } from '../profiles.ts'
import { AS_LOGGED, replayUnder } from './log-replay.ts'
import type { ServedCall, ServedInstance } from './traffic.ts'

/** An instance with the engine that explains best what it was seen to do. */
export interface CalibratedInstance {
  readonly spec: MachineSpec
  /** Calls it was judged on; 0 where it served none, and its profile is the first instance's. */
  readonly calls: number
  /** Mean E2E of the twin under the logged placements against the logged one, − 1. */
  readonly e2eError: number
}

/** Calls that an instance type is judged on: a few thousand fix a mean to about a percent. */
const CALLS_MAX = 3000

/**
 * Which engine each instance is: under the placements that were really made, every shipped profile is played, its step times scaled so that its mean
 * time per token is what was logged, and the one whose mean E2E and TTFT come nearest is taken.
 */
export function calibrateFleet(instances: readonly ServedInstance[], calls: readonly ServedCall[]): CalibratedInstance[] {
  const seen = calls.slice(0, CALLS_MAX)
  const logged = new Map(instances.map(({ name }) => [name, meansOf(seen.filter((call) => call.instance === name))]))
  let best: CalibratedInstance[] = []
  let leastError: number[] = []
  for (const profile of PROFILES.values()) {
    const plain = instances.map((instance) => specOf(instance, profile, 1))
    const first = playedMeans(plain, seen)
    const scaled = instances.map((instance) =>
      specOf(instance, profile, ratio(logged.get(instance.name)?.tpotMs, first.get(instance.name)?.tpotMs)),
    )
    const played = playedMeans(scaled, seen)
    const errors = instances.map(({ name }) => distance(played.get(name), logged.get(name)))
    const candidates = instances.map(({ name }, i) => ({
      spec: scaled[i] as MachineSpec,
      calls: logged.get(name)?.calls ?? 0,
      e2eError: ratio(played.get(name)?.e2eMs, logged.get(name)?.e2eMs) - 1,
    }))
    if (best.length === 0) {
      best = candidates
      leastError = errors
    } else
      errors.forEach((error, i) => {
        if (!(error < (leastError[i] as number))) return
        leastError[i] = error
        best[i] = candidates[i] as CalibratedInstance
      })
  }
  return best
}

/** The same fleet with profiles that somebody named; nothing is scaled. */
export function namedFleet(instances: readonly ServedInstance[], profileOf: (name: string) => Profile): MachineSpec[] {
  return instances.map((instance) => specOf(instance, profileOf(instance.name), 1))
}

function specOf({ name, speed, kvTokens }: ServedInstance, profile: Profile, factor: number): MachineSpec {
  return {
    name,
    speed,
    profile: {
      ...profile,
      law: scaleLaw(profile.law, factor),
      ...(kvTokens > 0 ? { kvBlocks: Math.floor(kvTokens / KV_BLOCK_TOKENS) } : {}),
    },
  }
}

interface Means {
  readonly calls: number
  readonly ttftMs: number
  readonly tpotMs: number
  readonly e2eMs: number
}

function playedMeans(fleet: readonly MachineSpec[], calls: readonly ServedCall[]): Map<string, Means> {
  const met = new Map<string, { ttftMs: number; tpotMs: number | null; e2eMs: number }[]>(fleet.map((one) => [one.name, []]))
  replayUnder(AS_LOGGED, { calls, fleet, countedFromUnixMs: 0 }, (end, call) => {
    if (end.ending !== 'completed' || call.outcome !== 'completed' || call.instance === null) return
    met.get(call.instance)?.push({
      ttftMs: end.firstTokenMs - end.arrivedMs,
      tpotMs: end.outputTokens > 1 ? (end.endedMs - end.firstTokenMs) / (end.outputTokens - 1) : null,
      e2eMs: end.endedMs - end.arrivedMs,
    })
  })
  return new Map([...met].map(([name, rows]) => [name, average(rows)]))
}

function meansOf(calls: readonly ServedCall[]): Means {
  return average(calls.filter((call) => call.outcome === 'completed'))
}

function average(rows: readonly { readonly ttftMs: number | null; readonly tpotMs: number | null; readonly e2eMs: number }[]): Means {
  const mean = (pick: 'ttftMs' | 'tpotMs' | 'e2eMs'): number => {
    const values = rows.flatMap((row) => row[pick] ?? [])
    return values.reduce((sum, value) => sum + value, 0) / values.length
  }
  return { calls: rows.length, ttftMs: mean('ttftMs'), tpotMs: mean('tpotMs'), e2eMs: mean('e2eMs') }
}

function distance(played: Means | undefined, logged: Means | undefined): number {
  if (!played || !logged) return Number.POSITIVE_INFINITY
  const off = (pick: 'ttftMs' | 'e2eMs'): number => Math.abs(Math.log(ratio(played[pick], logged[pick])))
  return 2 * off('e2eMs') + off('ttftMs')
}

/** a/b; 1 where one of them is unknown. */
function ratio(a: number | undefined, b: number | undefined): number {
  const value = (a ?? Number.NaN) / (b ?? Number.NaN)
  return value > 0 && Number.isFinite(value) ? value : 1
}
