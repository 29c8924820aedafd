import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Packer, transferred, unpack } from '../../plugin/log/packing.ts'
import { callRow, instanceKey, nowRow, START_UNIX_MS, scrapeRow } from './row.ts'

/** As the log thread gets it: the arrays change hands. */
function crossed(rows: readonly object[], packer = new Packer()): object[] {
  const packed = packer.pack(rows)
  return unpack(structuredClone(packed, { transfer: transferred(packed) }))
}

test('rows come out as they went in, one packer packing batch after batch of any size', () => {
  const packer = new Packer()
  for (const count of [0, 1, 40, 3, 700, 2]) {
    const rows = Array.from({ length: count }, (_, i) => (i % 7 === 3 ? scrapeRow(i, START_UNIX_MS + i) : callRow(i)))
    expect(crossed(rows, packer)).toEqual(rows)
  }
  expect(crossed([nowRow(START_UNIX_MS, [0, 1])])).toEqual([nowRow(START_UNIX_MS, [0, 1])])
})

const leaf = fc.oneof(
  fc.double(),
  fc.integer(),
  fc.string({ unit: 'binary' }),
  fc.boolean(),
  fc.constant(null),
  fc.constant(undefined),
  fc.array(fc.float()).map((values) => Float32Array.from(values)),
  fc.array(fc.nat()).map((values) => Uint32Array.from(values)),
  fc.array(fc.nat()).map((values) => Uint16Array.from(values)),
)
/** Fields are named by the program, so never like this. */
const field = fc.string().filter((name) => name !== '__proto__')
const plain = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    fc.array(tie('value')),
    fc.dictionary(field, tie('value'), { noNullPrototype: true }),
  ),
})).value

test('whatever a row is made of, and whatever shapes rows have, nothing is lost or mixed up', () => {
  fc.assert(
    fc.property(fc.array(fc.dictionary(field, plain, { noNullPrototype: true })), (rows) => {
      expect(crossed(rows)).toStrictEqual(rows)
    }),
  )
})

test('of an array cut from a larger buffer only its own bytes cross', () => {
  const reused = new Float32Array(1_000_000).fill(3)
  const packed = new Packer().pack([{ features: reused.subarray(7, 12) }])
  expect(packed.bytes.length).toBeLessThan(10_000)
  expect(unpack(packed)).toEqual([{ features: Float32Array.of(3, 3, 3, 3, 3) }])
})

test('an instance named by many rows crosses once, and two of one name stay two', () => {
  const [key, twin] = [instanceKey(1), instanceKey(1)]
  const rows = [{ instance: key, attempts: [{ instance: key }] }, { instance: twin }] as const
  const [first, second] = crossed(rows) as [(typeof rows)[0], (typeof rows)[1]]
  expect(first.attempts[0].instance).toBe(first.instance)
  expect(second.instance).not.toBe(first.instance)
  expect(second).toEqual(rows[1])
})

test('what no row holds is refused, and the packer goes on with the next rows', () => {
  const packer = new Packer()
  for (const odd of [() => 1, Symbol('a'), 1n, new Float16Array(1), new BigInt64Array(1), new Map(), new Date()])
    expect(() => packer.pack([callRow(1), { odd }])).toThrow('cannot cross')
  expect(crossed([callRow(2)], packer)).toEqual([callRow(2)])
})
