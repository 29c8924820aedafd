/**
 * Chance, passed in everywhere else. One seed names a whole run; `stream` derives independent dice by name, so that a
 * change in how one part draws never shifts what another part sees (common random numbers).
 */
export interface Rng {
  /** The seed these dice were made from, to be printed when a test fails. */
  readonly seed: number
  /** Uniform in [0, 1), 32 bits of resolution. */
  next(): number
  /** Uniform integer in [0, bound). Throws when bound is not a positive integer. */
  int(bound: number): number
  /** Standard normal (Box and Muller, 1958). */
  normal(): number
  /** Exponential with mean 1. */
  exponential(): number
  /** Independent dice for the part called `name`; the same name gives the same dice. */
  stream(name: string): Rng
}

/** Seeded dice: sfc32 (Chris Doty-Humphrey, PractRand), whose state is seeded by splitmix32. */
export function createRng(seed: number): Rng {
  let state = seed >>> 0
  const split = (): number => {
    state = (state + 0x9e3779b9) >>> 0
    let z = state
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
    return (z ^ (z >>> 15)) >>> 0
  }
  let a = split()
  let b = split()
  let c = split()
  let counter = 1
  const bits = (): number => {
    const t = (a + b + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = ((c << 21) | (c >>> 11)) + t
    return t >>> 0
  }
  for (let i = 0; i < 12; i++) bits()
  const next = (): number => bits() / 4_294_967_296
  return {
    seed,
    next,
    int(bound) {
      if (!Number.isInteger(bound) || bound <= 0) throw new Error(`int needs a positive integer bound, got ${bound}`)
      return Math.floor(next() * bound)
    },
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
    exponential: () => -Math.log(1 - next()),
    stream: (name) => createRng(seedOf(`${seed}/${name}`)),
  }
}

/** A 32-bit seed from text: FNV-1a (Fowler, Noll, Vo, 1991). */
export function seedOf(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash >>> 0
}
