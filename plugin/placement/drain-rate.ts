import { createArgmin } from './argmin.ts'
import { cell } from './cell.ts'
import { AT } from './features.ts'
import { InstanceMemory } from './instance-memory.ts'
import type { Policy } from './policy.ts'

const WINDOW_MS = 60_000

/** `drain-rate`: in flight ÷ completions in the last 60 s, argmin. An instance that completed nothing counts as having completed one. */
export function createDrainRate(): Policy {
  const ends = new InstanceMemory(() => new RecentEnds())
  return createArgmin(
    'drain-rate',
    (candidates, costs) => {
      const { count, instances, nowMs } = candidates
      for (let i = 0; i < count; i++) costs[i] = cell(candidates, i, AT.inFlight) / Math.max(1, ends.of(instances[i]).count(nowMs))
    },
    {
      onSettled: (instance, _call, { completed, nowMs }) => {
        if (completed) ends.of(instance).add(nowMs)
      },
    },
  )
}

/** How many calls ended within the window, as a queue of moments; each is put in once and taken out once. */
class RecentEnds {
  #moments: number[] = []
  #first = 0

  add(nowMs: number): void {
    this.#moments.push(nowMs)
    this.count(nowMs)
  }

  count(nowMs: number): number {
    while (this.#first < this.#moments.length && (this.#moments[this.#first] as number) <= nowMs - WINDOW_MS) this.#first++
    if (this.#first > 1_024 && this.#first * 2 > this.#moments.length) {
      this.#moments = this.#moments.slice(this.#first)
      this.#first = 0
    }
    return this.#moments.length - this.#first
  }
}
