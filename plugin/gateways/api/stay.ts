import type { PlacementError, Ticket } from '../../router.ts'
import type { Matched } from './directory.ts'

/** How a placement's wait for its ticket went. */
export type Waiting =
  | { readonly kind: 'held' }
  | { readonly kind: 'placed'; readonly ticket: Ticket }
  | { readonly kind: 'refused'; readonly error: PlacementError | Error }

/** Whether a held call was given up; its signal is made only for who looks at it, which costs more than all else of a stay. */
export class Abandon {
  #controller: AbortController | undefined
  #isGiven = false

  get isGiven(): boolean {
    return this.#isGiven
  }
  get signal(): AbortSignal {
    this.#controller ??= new AbortController()
    if (this.#isGiven) this.#controller.abort()
    return this.#controller.signal
  }

  give(): void {
    this.#isGiven = true
    this.#controller?.abort()
  }
}

/** One placement from asking to its end. Whoever ends it takes it out of the book first. */
export interface Stay {
  readonly id: string
  readonly key: string | undefined
  readonly arrivedMs: number
  readonly abandon: Abandon
  /** The candidates of the latest attempt; absent where all of the pool may take it. */
  matched: Matched | undefined
  waiting: Waiting
  attempt: number
  /** When the caller last asked; a held call that nobody asks for is given up. */
  askedMs: number
}

/** How an ended placement is remembered, so that a second report is known for what it is. */
export interface Departed {
  readonly id: string
  readonly key: string | undefined
}

/** Ended placements remembered; at 3,000 a second the last 17 s, far beyond any retry of a report. */
const DEPARTED_MAX = 50_000

/**
 * Who is inside, by id and by the caller's key. Invariant: a stay is inside or departed, never both; a key stands for the latest call that
 * used it.
 */
export class Book {
  readonly #inside = new Map<string, Stay>()
  readonly #keys = new Map<string, string>()
  readonly #departed = new Map<string, Departed>()

  get size(): number {
    return this.#inside.size
  }
  stays(): IterableIterator<Stay> {
    return this.#inside.values()
  }

  enter(stay: Stay): void {
    this.#inside.set(stay.id, stay)
    if (stay.key !== undefined) this.#keys.set(stay.key, stay.id)
  }

  find(named: { readonly id: string } | { readonly key: string }): Stay | undefined {
    const id = 'id' in named ? named.id : this.#keys.get(named.key)
    return id === undefined ? undefined : this.#inside.get(id)
  }

  /** True for the one who takes it out. */
  leave(stay: Stay): boolean {
    if (!this.#inside.delete(stay.id)) return false
    this.#departed.set(stay.id, { id: stay.id, key: stay.key })
    if (this.#departed.size > DEPARTED_MAX) this.#forgetOldest()
    return true
  }

  departed(named: { readonly id: string } | { readonly key: string }): Departed | undefined {
    const id = 'id' in named ? named.id : this.#keys.get(named.key)
    return id === undefined ? undefined : this.#departed.get(id)
  }

  #forgetOldest(): void {
    const [oldest] = this.#departed.values()
    if (!oldest) return
    this.#departed.delete(oldest.id)
    if (oldest.key !== undefined && this.#keys.get(oldest.key) === oldest.id) this.#keys.delete(oldest.key)
  }
}
