import fc from 'fast-check'
import { expect, test } from 'vitest'
import { freshDoubles, freshFloats, freshShorts } from '../../plugin/call/cells.ts'
import { roundToHalves } from '../../plugin/prediction/half.ts'

function rounded(values: readonly number[]): { readonly singles: Float32Array; readonly halves: Float16Array } {
  const singles = Float32Array.from(values)
  const halves = new Float16Array(values.length)
  roundToHalves(new Uint32Array(singles.buffer), new Uint16Array(halves.buffer))
  return { singles, halves }
}

/** Bits, so that −0 and the kinds of NaN count too. */
const bitsOf = (values: Float16Array): number[] => Array.from(new Uint16Array(values.buffer))

test('singles are rounded to halves as the engine does it, at every exponent and tie', () => {
  const edges = [0, -0, 1, -1, 0.1, 2 ** -14, 2 ** -14 - 2 ** -26, 2 ** -24, 2 ** -25, 2 ** -26, 65_504, 65_519.996, 65_520, 1e9, -1e9]
  const ties = Array.from({ length: 200 }, (_, i) => (1_024 + i) * 2 ** (i % 31) * 2 ** -24 + 2 ** ((i % 31) - 25))
  fc.assert(
    fc.property(fc.array(fc.float(), { minLength: 1, maxLength: 50 }), (drawn) => {
      const values = [...drawn, ...edges, ...ties, Number.POSITIVE_INFINITY]
      const { singles, halves } = rounded(values)
      const expected = new Float16Array(Float32Array.from(values))
      expect(Array.from(halves)).toEqual(Array.from(expected))
      expect(Array.from(singles)).toEqual(Array.from(expected))
      const numbers = values.filter((value) => !Number.isNaN(value))
      expect(bitsOf(rounded(numbers).halves)).toEqual(bitsOf(new Float16Array(Float32Array.from(numbers))))
    }),
  )
})

test('arrays cut from a slab are zeroed and share no cell', () => {
  for (const fresh of [freshDoubles, freshFloats, freshShorts]) {
    const cut = Array.from({ length: 200 }, (_, i) => {
      const own = fresh(1 + (i % 97))
      expect(own.every((value) => value === 0)).toBe(true)
      return own.fill(i)
    })
    for (const [i, own] of cut.entries()) {
      expect(own).toHaveLength(1 + (i % 97))
      expect(own.every((value) => value === i)).toBe(true)
    }
  }
})
