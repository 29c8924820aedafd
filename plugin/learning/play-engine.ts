import { EngineCore } from '../simulation/engine/core.ts'
import { SequenceTable } from '../simulation/engine/sequences.ts'
import type { Profile } from '../simulation/profiles.ts'

/** The calls that one instance was sent, in order of dispatch: columns of one length. */
export interface EngineCalls {
  /** When each reached the instance, ms from an arbitrary start, ascending. */
  readonly dispatchedMs: Float64Array
  readonly promptTokens: Int32Array
  readonly outputTokens: Int32Array
  /** Its caller left this long after dispatch; NaN: stayed. */
  readonly leftAfterMs: Float64Array
  /** Chained hashes of full 16-token blocks; empty where nothing is shared. */
  readonly blockHashes: readonly ArrayLike<number>[]
}

/** What an engine would have made of them, from dispatch on, ms; NaN where no token came or no end was waited for. */
export interface EngineTimes {
  readonly ttftMs: Float64Array
  readonly e2eMs: Float64Array
}

interface Play {
  readonly core: EngineCore
  readonly table: SequenceTable
  readonly calls: EngineCalls
  readonly times: EngineTimes
  /** Which call sits in a slot. */
  readonly callOf: number[]
  readonly slotOf: Int32Array
  dueMs: number
}

/** Plays the calls through one engine of `profile`, without a router: the placements are those that were made. */
export function playEngine(profile: Profile, calls: EngineCalls): EngineTimes {
  const table = new SequenceTable()
  const count = calls.dispatchedMs.length
  const play: Play = {
    core: new EngineCore({ table, profile, scheduling: 'fcfs' }),
    table,
    calls,
    times: { ttftMs: new Float64Array(count).fill(Number.NaN), e2eMs: new Float64Array(count).fill(Number.NaN) },
    callOf: [],
    slotOf: new Int32Array(count).fill(-1),
    dueMs: Number.POSITIVE_INFINITY,
  }
  const leaving = leavers(calls)
  let next = 0
  let left = 0
  while (next < count || play.dueMs < Number.POSITIVE_INFINITY) {
    const arrivalMs = next < count ? (calls.dispatchedMs[next] as number) : Number.POSITIVE_INFINITY
    const leaveMs = left < leaving.length ? leaveAt(calls, leaving[left] as number) : Number.POSITIVE_INFINITY
    if (arrivalMs <= play.dueMs && arrivalMs <= leaveMs) arrive(play, next++)
    else if (leaveMs < play.dueMs) leave(play, leaving[left++] as number, leaveMs)
    else turn(play)
  }
  return play.times
}

function leavers({ leftAfterMs, dispatchedMs }: EngineCalls): number[] {
  const found: number[] = []
  for (let i = 0; i < leftAfterMs.length; i++) if (!Number.isNaN(leftAfterMs[i])) found.push(i)
  return found.sort(
    (a, b) => (dispatchedMs[a] as number) + (leftAfterMs[a] as number) - (dispatchedMs[b] as number) - (leftAfterMs[b] as number),
  )
}

function leaveAt({ dispatchedMs, leftAfterMs }: EngineCalls, i: number): number {
  return (dispatchedMs[i] as number) + (leftAfterMs[i] as number)
}

function arrive(play: Play, i: number): void {
  const { core, table, calls } = play
  // A prompt that cannot fit is refused at once by every server.
  if ((calls.promptTokens[i] as number) >= core.maxContextTokens) return
  const slot = table.claim()
  play.callOf[slot] = i
  play.slotOf[i] = slot
  table.promptTokens[slot] = calls.promptTokens[i] as number
  table.outputTokens[slot] = calls.outputTokens[i] as number
  table.blockHashes[slot] = calls.blockHashes[i] as ArrayLike<number>
  table.priority[slot] = 0
  core.submit(slot)
  disturb(play, calls.dispatchedMs[i] as number)
}

function leave(play: Play, i: number, nowMs: number): void {
  const slot = play.slotOf[i] as number
  if (slot < 0) return
  play.slotOf[i] = -1
  if (play.core.abort(slot)) play.table.release(slot)
  disturb(play, nowMs)
}

function disturb(play: Play, nowMs: number): void {
  const { core } = play
  if (core.busy) {
    core.cut(nowMs)
    play.dueMs = core.endMs
  } else play.dueMs = nowMs
}

function turn(play: Play): void {
  const { core, table, calls, times } = play
  const nowMs = play.dueMs
  if (core.busy) {
    core.complete()
    for (const slot of core.events.first) {
      const i = play.callOf[slot] as number
      times.ttftMs[i] = nowMs - (calls.dispatchedMs[i] as number)
    }
    for (const slot of core.events.finished) {
      const i = play.callOf[slot] as number
      times.e2eMs[i] = nowMs - (calls.dispatchedMs[i] as number)
      play.slotOf[i] = -1
      table.release(slot)
    }
    for (const slot of core.events.aborted) table.release(slot)
  }
  play.dueMs = core.begin(nowMs) ? core.endMs : Number.POSITIVE_INFINITY
}
