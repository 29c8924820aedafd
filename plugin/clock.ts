/**
 * Time, passed in everywhere else: the core never reads a clock of its own, so the twin can run a day in a second and a test
 * can stand at any instant.
 */
export interface Clock {
  /** Monotonic milliseconds since an arbitrary start, with fractions: for durations. */
  nowMs(): number
  /** Milliseconds since 1970-01-01 UTC: for what is stored and shown. */
  nowUnixMs(): number
}

/** The machine's clock. `nowUnixMs` follows wall-clock corrections, `nowMs` does not. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  nowUnixMs: () => Date.now(),
}

/** A clock that stands still until `advance` moves it; both faces move together. */
export interface ManualClock extends Clock {
  advance(deltaMs: number): void
}

/** A `ManualClock` that starts at 0 monotonic and at `startUnixMs` on the wall. */
export function createManualClock(startUnixMs = 1_767_225_600_000): ManualClock {
  let elapsedMs = 0
  return {
    nowMs: () => elapsedMs,
    nowUnixMs: () => startUnixMs + Math.floor(elapsedMs),
    advance(deltaMs) {
      if (!(deltaMs >= 0)) throw new Error(`a clock never goes back: advance(${deltaMs})`)
      elapsedMs += deltaMs
    },
  }
}
