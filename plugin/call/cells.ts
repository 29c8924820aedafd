/**
 * Small arrays of numbers, cut one after another from larger ones. An array of its own costs ten times as much: its memory lies outside the
 * engine's heap and is freed one by one. What is cut from one slab lives as long as the last of it, so slabs are small: at worst a call
 * under way holds one of each kind.
 */

/** Numbers of a slab: some six predictions. Chosen: 5,000 calls under way hold 80 MB at the very worst, some 15 MB as they come. */
const SLAB_NUMBERS = 2_048

interface Cells {
  readonly length: number
  subarray(from: number, to: number): this
}

/** Gives `count` zeros; more than a slab has are an array of their own. */
function slabOf<T extends Cells>(make: (count: number) => T, slabNumbers = SLAB_NUMBERS): (count: number) => T {
  let slab = make(slabNumbers)
  let used = 0
  return (count) => {
    if (used + count > slab.length) {
      if (count > slab.length) return make(count)
      slab = make(slabNumbers)
      used = 0
    }
    used += count
    return slab.subarray(used - count, used)
  }
}

/** `count` zeros. To be handed to another thread packed (log/packing.ts), not as they are: the whole slab would go. */
export const freshDoubles = slabOf((count) => new Float64Array(count))
/** As `freshDoubles`, in single precision. */
export const freshFloats = slabOf((count) => new Float32Array(count))
/** As `freshDoubles`, in 32 bits. */
export const freshWords = slabOf((count) => new Uint32Array(count))
/** As `freshDoubles`, in 16 bits. */
export const freshShorts = slabOf((count) => new Uint16Array(count), 2 * SLAB_NUMBERS)
