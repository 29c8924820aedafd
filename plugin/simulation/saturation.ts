import { createRng, type Rng } from '../rng.ts'
import { createEngine } from './engine.ts'
import { type Profile, profileNamed } from './profiles.ts'
import type { VirtualInstanceSpec } from './virtual-fleet.ts'
import { drawCall } from './workload.ts'

/** Calls kept in the waiting queue, so that the engine never lacks work. */
const BACKLOG_CALLS = 8

/** Calls that end before measuring starts (the first ones find an empty engine), and calls measured. */
const WARM_UP_CALLS = 300
const MEASURED_CALLS = 600

/** Prompt and output of one call of a mix, and the prompt's block hashes where a cache may know them. */
export type DrawLengths = (rng: Rng) => {
  readonly promptTokens: number
  readonly outputTokens: number
  readonly blockHashes?: ArrayLike<number>
}

/** Calls per second that one instance completes when it always has calls waiting: its capacity for the mix. Deterministic. */
export function instanceCallsPerS(profile: Profile, draw: DrawLengths = drawCall): number {
  const engine = createEngine({ profile })
  const rng = createRng(1).stream('saturation')
  let nowMs = 0
  let id = 0
  let ended = 0
  let warmMs = 0
  let warmCalls = 0
  while (ended < WARM_UP_CALLS + MEASURED_CALLS) {
    while (engine.stats().waiting < BACKLOG_CALLS) if (engine.submit({ id: id++, ...draw(rng) }) === 'too long') ended++
    const step = engine.step()
    nowMs += step.durationMs
    for (const emission of step.emitted) if (emission.finished) ended++
    if (warmCalls === 0 && ended >= WARM_UP_CALLS) {
      warmMs = nowMs
      warmCalls = ended
    }
  }
  return (ended - warmCalls) / ((nowMs - warmMs) / 1000)
}

/** Capacity of a virtual fleet for a mix (the paper's by default) in calls per second of real time: the sum of its instances' own. */
export function fleetCallsPerS(specs: readonly VirtualInstanceSpec[], draw: DrawLengths = drawCall): number {
  const known = new Map<string, number>()
  let sum = 0
  for (const { profile: name, kvBlocks, seats, timeFactor = 1 } of specs) {
    const key = JSON.stringify([name, kvBlocks, seats])
    const profile = { ...profileNamed(name), ...(kvBlocks === undefined ? {} : { kvBlocks }), ...(seats === undefined ? {} : { seats }) }
    const callsPerS = known.get(key) ?? instanceCallsPerS(profile, draw)
    known.set(key, callsPerS)
    sum += callsPerS * timeFactor
  }
  return sum
}
