/**
 * Small arrays of numbers, cut one after another from larger ones. An array of its own costs ten times as much: its memory lies outside the
 * engine's heap and is freed one by one. What is cut from one slab lives as long as the last of it, so slabs are small: at worst a call
 * under way holds one of each kind.
 */

/** Numbers of a slab: some six predictions. Chosen: 5,000 calls under way hold 80 MB at the very worst, some 15 MB as they come. */
const SLAB_NUMBERS = 2_048

let doubles = new Float64Array(SLAB_NUMBERS)
let doublesUsed = 0
let floats = new Float32Array(SLAB_NUMBERS)
let floatsUsed = 0
let words = new Uint32Array(SLAB_NUMBERS)
let wordsUsed = 0
let shorts = new Uint16Array(2 * SLAB_NUMBERS)
let shortsUsed = 0

/** `count` zeros; more than a slab has are an array of their own. To be handed to another thread packed (log/packing.ts), not as it is: the whole slab would go. */
export function freshDoubles(count: number): Float64Array {
  if (doublesUsed + count > doubles.length) {
    if (count > doubles.length) return new Float64Array(count)
    doubles = new Float64Array(SLAB_NUMBERS)
    doublesUsed = 0
  }
  doublesUsed += count
  return doubles.subarray(doublesUsed - count, doublesUsed)
}

/** As `freshDoubles`, in single precision. */
export function freshFloats(count: number): Float32Array {
  if (floatsUsed + count > floats.length) {
    if (count > floats.length) return new Float32Array(count)
    floats = new Float32Array(SLAB_NUMBERS)
    floatsUsed = 0
  }
  floatsUsed += count
  return floats.subarray(floatsUsed - count, floatsUsed)
}

/** As `freshDoubles`, in 32 bits. */
export function freshWords(count: number): Uint32Array {
  if (wordsUsed + count > words.length) {
    if (count > words.length) return new Uint32Array(count)
    words = new Uint32Array(SLAB_NUMBERS)
    wordsUsed = 0
  }
  wordsUsed += count
  return words.subarray(wordsUsed - count, wordsUsed)
}

/** As `freshDoubles`, in 16 bits. */
export function freshShorts(count: number): Uint16Array {
  if (shortsUsed + count > shorts.length) {
    if (count > shorts.length) return new Uint16Array(count)
    shorts = new Uint16Array(2 * SLAB_NUMBERS)
    shortsUsed = 0
  }
  shortsUsed += count
  return shorts.subarray(shortsUsed - count, shortsUsed)
}
