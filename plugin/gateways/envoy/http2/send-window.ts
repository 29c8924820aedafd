import { ConnectionError, ERROR } from './frames.ts'
import { DEFAULT_WINDOW_BYTES, WINDOW_BYTES_MAX } from './peer.ts'

/** Something that writes when there is room again. */
export interface Waiting {
  pump(): void
}

/** What may still be written on a connection, shared by its streams. Invariant: never below 0; who got less than wanted is called again. */
export class SendWindow {
  #bytes = DEFAULT_WINDOW_BYTES
  readonly #waiting = new Set<Waiting>()

  take(who: Waiting, wanted: number): number {
    const bytes = Math.min(wanted, this.#bytes)
    this.#bytes -= bytes
    if (bytes < wanted) this.#waiting.add(who)
    return bytes
  }

  /** Throws ConnectionError where the window becomes wider than one can be. */
  widen(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes > WINDOW_BYTES_MAX) throw new ConnectionError('the window is too wide', ERROR.flowControl)
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const who of waiting) who.pump()
  }

  forget(who: Waiting): void {
    this.#waiting.delete(who)
  }
}
