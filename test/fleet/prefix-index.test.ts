import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PREFIX_BLOCKS_MAX, PrefixIndex } from '../../plugin/fleet/prefix-index.ts'

/** A chain of hashes as call/ makes them: each depends on all before it. `path` names what was said, block by block. */
function chain(path: readonly number[]): BigUint64Array {
  let hash = 0xcbf29ce484222325n
  return BigUint64Array.from(path, (said) => {
    hash = BigInt.asUintN(64, (hash ^ BigInt(said + 1)) * 0x100000001b3n)
    return hash
  })
}

const matched = (index: PrefixIndex, blocks: BigUint64Array, slots: number): number[] => {
  const out = new Uint16Array(slots).fill(99)
  index.matchBlocks(blocks, out)
  return [...out]
}

/** The obvious one: a list of blocks, newest last, searched from the beginning. */
class PlainLru {
  readonly #capacity: number
  #held: bigint[] = []
  constructor(capacity: number) {
    this.#capacity = capacity
  }
  touch(blocks: BigUint64Array): void {
    for (const block of [...blocks].slice(0, this.#capacity).reverse()) this.#held = [...this.#held.filter((one) => one !== block), block]
    this.#held = this.#held.slice(-this.#capacity)
  }
  match(blocks: BigUint64Array): number {
    const missing = blocks.findIndex((block) => !this.#held.includes(block))
    return missing < 0 ? blocks.length : missing
  }
}

test('longest prefix held per instance, exactly as a plain list would find it, at any capacity', () => {
  const path = fc.array(fc.nat(2), { maxLength: 8 })
  const steps = fc.array(fc.record({ slot: fc.nat(2), path }), { maxLength: 60 })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), steps, path, (capacity, records, asked) => {
      const index = new PrefixIndex(capacity)
      const plain = Array.from({ length: 3 }, () => new PlainLru(capacity))
      for (const { slot, path: said } of records) {
        index.record(slot, chain(said))
        plain[slot]?.touch(chain(said))
        expect(index.size(slot)).toBeLessThanOrEqual(capacity)
      }
      expect(matched(index, chain(asked), 3)).toEqual(plain.map((one) => one.match(chain(asked))))
    }),
    { numRuns: 500 },
  )
})

test('growing and shrinking keep the newest', () => {
  const index = new PrefixIndex(5_000)
  const chains = Array.from({ length: 100 }, (_, i) => chain(Array.from({ length: 40 }, (__, block) => 1_000 * i + block)))
  for (const one of chains) index.record(0, one)
  for (const one of chains) expect(matched(index, one, 1)).toEqual([40])
  index.resize(0, 400)
  expect(index.size(0)).toBe(400)
  for (const [i, one] of chains.entries()) expect(matched(index, one, 1)).toEqual([i < 90 ? 0 : 40])
  index.resize(0, 800)
  for (const one of chains.slice(0, 10)) index.record(0, one)
  for (const one of [...chains.slice(90), ...chains.slice(0, 10)]) expect(matched(index, one, 1)).toEqual([40])
})

test('an instance that left holds nothing, and its slot is anybody’s', () => {
  const index = new PrefixIndex(100)
  const said = chain([1, 2, 3])
  index.record(1, said)
  expect(matched(index, said, 4)).toEqual([0, 3, 0, 0])
  index.forget(1)
  expect(matched(index, said, 4)).toEqual([0, 0, 0, 0])
})

test('a prompt longer than the bound is looked at up to the bound, and one without blocks matches nothing', () => {
  const index = new PrefixIndex(10_000)
  const long = chain(Array.from({ length: 3 * PREFIX_BLOCKS_MAX }, (_, i) => i))
  index.record(0, long)
  expect(matched(index, long, 1)).toEqual([PREFIX_BLOCKS_MAX])
  expect(matched(index, chain([]), 1)).toEqual([0])
})

test('hashes in the middle of a larger buffer are read from their own place', () => {
  const index = new PrefixIndex(100)
  const all = chain([4, 5, 6, 7])
  index.record(0, all.subarray(1, 3))
  expect(matched(index, all.subarray(1), 1)).toEqual([2])
  expect(matched(index, all, 1)).toEqual([0])
})
