/** Late or failing in a row that open the circuit, and for how long it then stays open. Five: on a machine short of CPU two or three late ones are the scheduler's. */
const STRIKES_MAX = 5
const OPEN_MS = 10_000

/** Sets a part aside for a while that failed or was late several times in a row: a broken part must not be asked by every call. */
export class Circuit {
  #strikes = 0
  #openUntilMs = Number.NEGATIVE_INFINITY

  /** The part is set aside now. */
  isOpen(nowMs: number): boolean {
    return nowMs < this.#openUntilMs
  }

  /** It failed or was late; true where that set it aside. */
  strike(nowMs: number): boolean {
    if (++this.#strikes < STRIKES_MAX) return false
    this.#strikes = 0
    this.#openUntilMs = nowMs + OPEN_MS
    return true
  }

  /** It did what it should. */
  passed(): void {
    this.#strikes = 0
  }

  /** Forgets the past: another part is in its place. */
  reset(): void {
    this.#strikes = 0
    this.#openUntilMs = Number.NEGATIVE_INFINITY
  }
}
