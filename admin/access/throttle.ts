import type { Clock } from '../../plugin/clock.ts'

/** Failures allowed in WINDOW_MS per name and address (a person who forgot), per address (one who guesses names), per name (many machines). */
const LIMITS = { both: 5, address: 20, name: 50 } as const
const WINDOW_MS = 15 * 60_000
/** Keys remembered; the oldest go first. 10,000 take about 2 MB. */
const KEYS_MAX = 10_000

/** Counts failed sign-ins and says when the next may be tried. In memory: a restart forgives, and restarts are not the guesser's to make. */
export interface Throttle {
  /** Ms to wait before this name may be tried from this address; 0 when now. */
  waitMs(name: string, address: string): number
  /** To be called before the password is checked, so that many attempts at once are not all let through. */
  failed(name: string, address: string): void
  /**
   * Takes back what `failed` counted for this attempt and clears the person's own count, but not the address's: one account of
   * the guesser's own must not buy more guesses.
   */
  succeeded(name: string, address: string): void
}

interface Count {
  failures: number
  readonly sinceMs: number
}

/** A throttle that has seen nothing yet. */
export function createThrottle(clock: Pick<Clock, 'nowMs'>): Throttle {
  const counts = new Map<string, Count>()
  const keysOf = (name: string, address: string): readonly (readonly [string, number])[] => [
    [`both ${address} ${name.toLowerCase()}`, LIMITS.both],
    [`address ${address}`, LIMITS.address],
    [`name ${name.toLowerCase()}`, LIMITS.name],
  ]
  const current = (key: string): Count | undefined => {
    const count = counts.get(key)
    if (count === undefined || clock.nowMs() - count.sinceMs < WINDOW_MS) return count
    counts.delete(key)
    return undefined
  }
  return {
    waitMs(name, address) {
      const waits = keysOf(name, address).map(([key, limit]) => {
        const count = current(key)
        return count !== undefined && count.failures >= limit ? count.sinceMs + WINDOW_MS - clock.nowMs() : 0
      })
      return Math.max(...waits)
    },
    failed(name, address) {
      for (const [key] of keysOf(name, address)) {
        const count = current(key)
        if (count !== undefined) count.failures += 1
        else {
          if (counts.size >= KEYS_MAX) counts.delete(counts.keys().next().value ?? key)
          counts.set(key, { failures: 1, sinceMs: clock.nowMs() })
        }
      }
    },
    succeeded(name, address) {
      const [own, ...shared] = keysOf(name, address)
      if (own !== undefined) counts.delete(own[0])
      for (const [key] of shared) {
        const count = current(key)
        if (count !== undefined) count.failures -= 1
      }
    },
  }
}
