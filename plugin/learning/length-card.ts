import { LENGTH_FEATURE_HASH } from '../prediction/length-model.ts'
import type { Rng } from '../rng.ts'
import type { LengthPlan } from './length.ts'
import type { LengthCase } from './length-rows.ts'
import { bootstrap, type Judged, MEASURES } from './measures.ts'
import { OPEN_SETS } from './open-sets.ts'

/** What a length model was made of and how good it is: written beside it as JSON. */
export interface LengthCard {
  readonly kind: 'length'
  readonly version: string
  readonly featureHash: string
  readonly command: string
  readonly seed: number
  readonly data: readonly {
    readonly set: string
    readonly licence: string
    readonly model: string
    readonly rows: number
    readonly censored: number
  }[]
  readonly rows: number
  readonly censored: number
  readonly embeddings: { readonly from: string; readonly licence: string; readonly sha256: string }
  readonly plan: LengthPlan
  /** On rows not trained on, with 95 % bootstrap intervals. */
  readonly measured: MeasuredAs
  /** On rows of sets that were left out of training, history learning on the way: what another installation may expect at first. */
  readonly unseen?: MeasuredAs
}

export interface MeasuredAs {
  readonly how: string
  readonly values: Readonly<Record<string, readonly [value: number, low: number, high: number]>>
}

const rounded = (value: number): number => Number(value.toPrecision(4))

/** All measures with their bootstrap intervals. */
export function measureAll(judged: readonly Judged[], rng: Rng): LengthCard['measured']['values'] {
  return Object.fromEntries(
    Object.entries(MEASURES).map(([name, measure]) => {
      const { value, low, high } = bootstrap(judged, measure, { rng: rng.stream(name) })
      return [name, [rounded(value), rounded(low), rounded(high)]]
    }),
  )
}

/** The rows by set, with the licence where it is an open one. */
export function describeData(cases: readonly LengthCase[]): LengthCard['data'] {
  return [...Map.groupBy(cases, (one) => one.of.set)].map(([set, own]) => ({
    set,
    licence: OPEN_SETS.find(({ name }) => name === set)?.licence ?? 'own data',
    model: [...new Set(own.map((one) => one.of.model))].join(', '),
    rows: own.length,
    censored: own.filter((one) => one.censored).length,
  }))
}

/** A card of these parts, feature hash filled in. */
export function createCard(parts: Omit<LengthCard, 'kind' | 'featureHash' | 'rows' | 'censored'>): LengthCard {
  return {
    kind: 'length',
    featureHash: LENGTH_FEATURE_HASH,
    rows: parts.data.reduce((sum, one) => sum + one.rows, 0),
    censored: parts.data.reduce((sum, one) => sum + one.censored, 0),
    ...parts,
  }
}
