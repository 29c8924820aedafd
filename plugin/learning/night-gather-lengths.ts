import { LENGTH_FEATURE_HASH, ROW_WIDTH } from '../prediction/length-model.ts'
import type { Rng } from '../rng.ts'
import type { LoggedCall } from './dataset.ts'
import type { LengthExample } from './length.ts'

/** An answer that no training saw, with what the serving predictor had said of it. */
export interface HeldOutLength extends LengthExample {
  readonly application: string
  readonly pool: string
  /** Mean tokens predicted when the call came; NaN where nothing was. */
  readonly predictedTokens: number
}

/** Answers that train: beyond, a length model gains under a thousandth (learning curve of bench length). */
export const LENGTH_ROWS_MAX = 24_000
/** Of those at most this share of one application: a single caller must not drown the others, whatever it floods the log with. */
export const APPLICATION_SHARE_MAX = 0.4
/** Answers kept while reading: twice what trains, whatever the number of applications. */
const KEPT_MAX = 2 * LENGTH_ROWS_MAX
/** Where they would be more, the bound of each application shrinks to this share of it. */
const SHRINK = 0.8
const HELD_OUT_LENGTHS_MAX = 6_000

interface Group {
  seen: number
  readonly kept: LengthExample[]
}

/**
 * Answers, drawn evenly over time with a bound per application (reservoir sampling; Vitter, 1985, algorithm R), and one over all: where many applications would fill
 * the memory, each one's bound shrinks, and what is too much of it is thrown away by lot.
 */
export class LengthGathering {
  readonly #rng: Rng
  readonly #only: string | undefined
  readonly #byApplication = new Map<string, Group>()
  readonly #heldOut: HeldOutLength[] = []
  #most = Math.floor(APPLICATION_SHARE_MAX * LENGTH_ROWS_MAX)
  #keptCount = 0
  #heldOutSeen = 0
  #unreadable = 0

  constructor(rng: Rng, only: string | undefined) {
    this.#rng = rng
    this.#only = only
  }

  add(call: LoggedCall, trains: boolean): void {
    const answered = call.outputTokens !== null && call.outputTokens > 0 && call.api !== 'openai-embeddings'
    if (!answered || (this.#only !== undefined && call.application !== this.#only)) return
    if (call.lengthRow?.length !== ROW_WIDTH || call.lengthFeatureHash !== LENGTH_FEATURE_HASH) {
      this.#unreadable++
      return
    }
    if (trains) {
      const own = this.#byApplication.get(call.application) ?? { seen: 0, kept: [] }
      this.#byApplication.set(call.application, own)
      own.seen++
      this.#keptCount += keep(own.kept, () => exampleOf(call), { seen: own.seen, most: this.#most, rng: this.#rng })
      if (this.#keptCount > KEPT_MAX) this.#shrink()
    } else {
      this.#heldOutSeen++
      const judged = (): HeldOutLength => ({
        ...exampleOf(call),
        application: call.application,
        pool: call.pool,
        predictedTokens: call.predictedOutputTokens ?? Number.NaN,
      })
      keep(this.#heldOut, judged, { seen: this.#heldOutSeen, most: HELD_OUT_LENGTHS_MAX, rng: this.#rng })
    }
  }

  result(): { readonly lengths: LengthExample[]; readonly heldOutLengths: HeldOutLength[]; readonly lengthsUnreadable: number } {
    const groups = [...this.#byApplication].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, group]) => group)
    return { lengths: share(groups), heldOutLengths: this.#heldOut, lengthsUnreadable: this.#unreadable }
  }

  #shrink(): void {
    this.#most = Math.max(1, Math.floor(SHRINK * this.#most))
    this.#keptCount = 0
    for (const { kept } of this.#byApplication.values()) {
      while (kept.length > this.#most) {
        kept[this.#rng.int(kept.length)] = kept.at(-1) as LengthExample
        kept.pop()
      }
      this.#keptCount += kept.length
    }
  }
}

function exampleOf(call: LoggedCall): LengthExample {
  return {
    row: Float32Array.from(call.lengthRow ?? []),
    words: call.words,
    outputTokens: call.outputTokens as number,
    censored: call.censored,
  }
}

/** Keeps the `seen`th with the probability that it belongs to a sample of `most`; gives by how many the kept ones have grown. */
export function keep<T>(
  kept: T[],
  make: () => T,
  { seen, most, rng }: { readonly seen: number; readonly most: number; readonly rng: Rng },
): 0 | 1 {
  if (kept.length < most) {
    kept.push(make())
    return 1
  }
  const at = rng.int(seen)
  if (at < most) kept[at] = make()
  return 0
}

/** As many of each as its share of what was seen, none above APPLICATION_SHARE_MAX of what comes out, and LENGTH_ROWS_MAX in all. One group alone stays whole. */
function share(groups: readonly Group[]): LengthExample[] {
  const kept = groups.reduce((sum, { kept: own }) => sum + own.length, 0)
  const total = Math.min(LENGTH_ROWS_MAX, kept)
  const most = groups.length > 1 ? Math.ceil(APPLICATION_SHARE_MAX * total) : total
  const countAt = ({ seen, kept: own }: Group, ratio: number): number => Math.min(own.length, most, Math.ceil(ratio * seen))
  const sumAt = (ratio: number): number => groups.reduce((sum, group) => sum + countAt(group, ratio), 0)
  // The largest ratio that stays within the total, by halving; at 1 everything kept is taken, up to its bound.
  let [low, high] = [0, 1]
  if (sumAt(high) <= LENGTH_ROWS_MAX) low = high
  for (let round = 0; round < 40 && low < high; round++) {
    const middle = (low + high) / 2
    if (sumAt(middle) <= LENGTH_ROWS_MAX) low = middle
    else high = middle
  }
  return groups.flatMap((group) => group.kept.slice(0, countAt(group, low)))
}
