import type { Call } from '../call/call.ts'
import { seedOf } from '../rng.ts'
import { createArgmin } from './argmin.ts'
import { cell, spreadOf } from './cell.ts'
import { AT } from './features.ts'
import { InstanceMemory } from './instance-memory.ts'
import type { Candidates, Policy } from './policy.ts'

/** The prefix that is hashed: 256 tokens are about four blocks of 256 bytes. */
const HASHED_BLOCKS = 4
/** An instance is left for the least loaded when it carries more than this times the mean. */
const LOAD_FACTOR = 1.25

/**
 * `prefix-hash` (SGLang Model Gateway): the first 256 tokens name an instance by consistent hashing; the call stays there if it has in flight at most 1.25 times the mean, else the
 * least loaded takes it. Highest random weight (Thaler and Ravishankar, 1998) in place of a ring: the same stickiness when instances come and go,
 * and nothing to keep. A prompt shorter than a block goes to the least loaded.
 */
export function createPrefixHash(): Policy {
  const seeds = new InstanceMemory(({ name }) => seedOf(name))
  return createArgmin('prefix-hash', (candidates, costs, call) => {
    const { count, instances } = candidates
    const home = homeOf(candidates, call, (i) => seeds.of(instances[i]))
    const stays = home >= 0 && cell(candidates, home, AT.inFlight) <= LOAD_FACTOR * spreadOf(candidates, AT.inFlight).mean
    for (let i = 0; i < count; i++) costs[i] = stays && i === home ? -1 : cell(candidates, i, AT.inFlight)
  })
}

/** Index of the candidate with the highest random weight for the call's prefix; −1 where it has no whole block. */
function homeOf({ count }: Candidates, { prefixBlocks }: Call, seedAt: (index: number) => number): number {
  const last = Math.min(HASHED_BLOCKS, prefixBlocks.length) - 1
  if (last < 0) return -1
  const hash = prefixBlocks[last] as bigint
  const key = Number(hash & 0xffffffffn) ^ Number((hash >> 32n) & 0xffffffffn)
  let home = -1
  let most = -1
  for (let i = 0; i < count; i++) {
    const weight = mix(key ^ seedAt(i))
    if (weight <= most) continue
    most = weight
    home = i
  }
  return home
}

/** Spreads 32 bits evenly: the finaliser of MurmurHash3 (Appleby, 2011). */
function mix(value: number): number {
  let h = value >>> 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
