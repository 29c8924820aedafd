import type { Rng } from '../rng.ts'
import { studentQuantile } from './student.ts'

/** A gain (1 − ours ÷ theirs, above 0 is better) with its 95 % interval. */
export type Gain = readonly [value: number, low: number, high: number]

/** The same calls under two arms, E2E or TTFT in ms; NaN where a call was not answered. One pair of columns per replay. */
export interface PairedRuns {
  readonly ours: readonly Float64Array[]
  readonly theirs: readonly Float64Array[]
}

/** Stretches of one replay that are drawn as a whole: calls of one stretch share queues. */
const STRETCHES = 12
const SAMPLES = 1_000

/**
 * Ratio of means over the calls that both arms answered. The interval is the wider one of two: stretches drawn with replacement (paired block bootstrap; Künsch, 1989), and
 * Student's t over replays where there are three at least: in overload a replay's stretches hang together.
 */
export function pairedGain(runs: PairedRuns, rng: Rng, only?: (call: number, replay: number) => boolean): Gain {
  const units: [number, number][] = []
  const byReplay: number[] = []
  runs.ours.forEach((ours, replay) => {
    const theirs = runs.theirs[replay] as Float64Array
    const own = Array.from({ length: STRETCHES }, (): [number, number] => [0, 0])
    for (let i = 0; i < ours.length; i++) {
      if (only && !only(i, replay)) continue
      const [a, b] = [ours[i] as number, theirs[i] as number]
      if (Number.isNaN(a) || Number.isNaN(b)) continue
      const unit = own[Math.floor((STRETCHES * i) / ours.length)] as [number, number]
      unit[0] += a
      unit[1] += b
    }
    units.push(...own)
    const all = sumOf(own)
    if (all[1] > 0) byReplay.push(1 - all[0] / all[1])
  })
  const [ours, theirs] = sumOf(units)
  const value = 1 - ours / theirs
  const drawn = Float64Array.from({ length: SAMPLES }, () => {
    const [a, b] = sumOf(units.map(() => units[rng.int(units.length)] as [number, number]))
    return 1 - a / b
  }).sort()
  const block: Gain = [value, drawn[Math.floor(0.025 * SAMPLES)] as number, drawn[Math.floor(0.975 * SAMPLES)] as number]
  if (byReplay.length < 3) return block
  const mean = byReplay.reduce((sum, one) => sum + one, 0) / byReplay.length
  const variance = byReplay.reduce((sum, one) => sum + (one - mean) ** 2, 0) / (byReplay.length - 1)
  const half = studentQuantile(0.975, byReplay.length - 1) * Math.sqrt(variance / byReplay.length)
  return [value, Math.min(block[1], value - half), Math.max(block[2], value + half)]
}

function sumOf(units: readonly (readonly [number, number])[]): [number, number] {
  let [a, b] = [0, 0]
  for (const unit of units) {
    a += unit[0]
    b += unit[1]
  }
  return [a, b]
}
