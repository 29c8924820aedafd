import { Roster, type Seated } from '../../router-roster.ts'

/** How long the parts of a call may take. */
export interface Timeouts {
  /** To the first byte of an attempt's answer. The time to connect is the connections' own limit. */
  readonly firstByteMs: number
  /** Between two chunks. Time in which the caller does not read is not counted. */
  readonly idleMs: number
  /** From arrival to the last byte. */
  readonly totalMs: number
}

/** Something that looks at its own deadlines when told the time. */
export interface Watched extends Seated {
  check(nowMs: number): void
}

/** A look at least this often, and at most that often: a deadline of minutes needs no better, a test's of 100 ms does. */
const LOOK_MS_MAX = 250
const LOOK_MS_MIN = 10
/** A deadline is noticed at most this share of itself too late. */
const LATENESS_SHARE = 8

/**
 * Looks at all open calls on one timer. Three timers of its own for each of 5,000 calls a second would be most of the work
 * that the event loop has.
 */
export function createWatch<T extends Watched>(parts: {
  readonly timeouts: Timeouts
  readonly nowMs: () => number
}): {
  readonly open: Roster<T>
  stop(): void
} {
  const open = new Roster<T>()
  const shortest = Math.min(...Object.values(parts.timeouts))
  const everyMs = Math.min(LOOK_MS_MAX, Math.max(LOOK_MS_MIN, shortest / LATENESS_SHARE))
  const timer = setInterval(() => {
    const nowMs = parts.nowMs()
    for (const one of open.all()) one.check(nowMs)
  }, everyMs)
  timer.unref()
  return { open, stop: () => clearInterval(timer) }
}
