import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { StepLaw } from '../../impact/step.ts'
import { type Fit, fitNonNegative, fitTwoLines, type Point } from './least-squares.ts'
import { numberAt, readTable, type TableRow } from './table.ts'

/** A step law fitted from the times of a model's operators, with the error of each of its parts. */
export interface FittedLaw {
  readonly law: StepLaw
  readonly fits: Readonly<Record<string, Pick<Fit, 'meanError' | 'worstError' | 'points'>>>
}

const US_PER_MS = 1000
const NS_PER_MS = 1e6

/** Operators that run once per step, not once per layer. */
const ONCE = new Set(['embedding', 'final_layernorm'])
/** A LLaMA layer normalises twice. */
const TWICE = new Set(['layernorm'])

/** LLMServingSim's profile of one GPU: dense.csv, per_sequence.csv and attention.csv hold the times of one layer's operators. */
export function fitOperators(folder: string, layers: number): FittedLaw {
  const dense = fitTwoLines(sumByTokens(readTable(join(folder, 'dense.csv')), layers))
  const head = fitNonNegative(sumHead(readTable(join(folder, 'per_sequence.csv'))))
  const attention = readTable(join(folder, 'attention.csv'))
  const of = (row: TableRow, name: string): number => numberAt(row, name)
  const decode = fitNonNegative(
    attention
      .filter((row) => of(row, 'prefill_chunk') === 0)
      .map((row) => ({
        factors: [1, of(row, 'n_decode'), of(row, 'n_decode') * of(row, 'kv_decode')],
        ms: (layers * of(row, 'time_us')) / US_PER_MS,
      }))
      .map((point) => partOf(dense, point.factors[1] as number, point)),
  )
  const prefill = fitNonNegative(
    attention
      .filter((row) => of(row, 'n_decode') === 0)
      .map((row) =>
        prefillPoint({ chunk: of(row, 'prefill_chunk'), cached: of(row, 'kv_prefill'), ms: (layers * of(row, 'time_us')) / US_PER_MS }),
      )
      .map((point) => partOf(dense, point.factors[1] as number, point)),
  )
  return assemble({ dense, head, decode, prefill })
}

/** LLMServingSim's older format, for tensor-parallel models: layers.csv in ns, attention.csv (Vidur's) in ms. Communication between GPUs is not in it. */
export function fitOperatorsV0(folder: string, layers: number): FittedLaw {
  const dense = fitTwoLines(sumLayers(readTable(join(folder, 'layers.csv')), layers))
  const head = fitNonNegative(
    readTable(join(folder, 'layers.csv'))
      .filter((row) => row.layer_name === 'lm_head' && numberAt(row, 'input') <= 256)
      .map((row) => ({ factors: [1, numberAt(row, 'input')], ms: numberAt(row, 'latency(ns)') / NS_PER_MS })),
  )
  const attention = readTable(join(folder, 'attention.csv'))
  const decode = fitNonNegative(
    attention
      // A batch of one ran another kernel, ten times slower per token; and `kv_cache_size` is of the whole batch, as its times tell.
      .filter((row) => row.is_prefill === 'False' && numberAt(row, 'batch_size') > 1)
      .map((row) => ({
        factors: [1, numberAt(row, 'batch_size'), numberAt(row, 'kv_cache_size')],
        ms: layers * numberAt(row, 'time_stats.attn_decode.mean'),
      }))
      .filter(({ ms }) => ms > 0)
      .map((point) => partOf(dense, point.factors[1] as number, point)),
  )
  const prefill = fitNonNegative(
    attention
      .filter((row) => row.is_prefill === 'True')
      .map((row) =>
        prefillPoint({
          chunk: numberAt(row, 'prefill_chunk_size'),
          cached: numberAt(row, 'kv_cache_size') - numberAt(row, 'prefill_chunk_size'),
          ms: layers * numberAt(row, 'time_stats.attn_prefill.mean'),
        }),
      )
      .filter(({ ms }) => ms > 0)
      .map((point) => partOf(dense, point.factors[1] as number, point)),
  )
  return assemble({ dense, head, decode, prefill })
}

/** `layers.csv`: one layer's operators in ns, and those that run once. */
function sumLayers(rows: readonly TableRow[], layers: number): { readonly x: number; readonly ms: number }[] {
  const byTokens = new Map<number, number>()
  for (const row of rows) {
    const name = row.layer_name ?? ''
    if (name === 'attn' || name === 'lm_head') continue
    const tokens = numberAt(row, 'input')
    byTokens.set(tokens, (byTokens.get(tokens) ?? 0) + ((ONCE.has(name) ? 1 : layers) * numberAt(row, 'latency(ns)')) / NS_PER_MS)
  }
  return [...byTokens].map(([x, ms]) => ({ x, ms }))
}

/** Attention is judged by the step it is a part of: what it adds to the dense operators of as many tokens. */
function partOf({ lines }: ReturnType<typeof fitTwoLines>, tokens: number, point: Point): Point {
  return { ...point, ofMs: point.ms + Math.max(...lines.map(([base, perToken]) => base + perToken * tokens)) }
}

/** The folder holds what `fitOperators` reads. */
export function holdsOperators(folder: string): boolean {
  return ['dense.csv', 'per_sequence.csv', 'attention.csv'].every((file) => existsSync(join(folder, file)))
}

function prefillPoint({ chunk, cached, ms }: { readonly chunk: number; readonly cached: number; readonly ms: number }): Point {
  return { factors: [1, chunk, chunk * Math.max(0, cached), (chunk * chunk) / 2], ms }
}

function sumByTokens(rows: readonly TableRow[], layers: number): { readonly x: number; readonly ms: number }[] {
  const byTokens = new Map<number, number>()
  for (const row of rows) {
    const name = row.layer ?? ''
    const times = ONCE.has(name) ? 1 : TWICE.has(name) ? 2 * layers : layers
    const tokens = numberAt(row, 'tokens')
    byTokens.set(tokens, (byTokens.get(tokens) ?? 0) + (times * numberAt(row, 'time_us')) / US_PER_MS)
  }
  return [...byTokens].map(([x, ms]) => ({ x, ms }))
}

function sumHead(rows: readonly TableRow[]): Point[] {
  const bySequences = new Map<number, number>()
  for (const row of rows) {
    const sequences = numberAt(row, 'sequences')
    bySequences.set(sequences, (bySequences.get(sequences) ?? 0) + numberAt(row, 'time_us') / US_PER_MS)
  }
  return [...bySequences].map(([sequences, ms]) => ({ factors: [1, sequences], ms }))
}

interface Parts {
  readonly dense: ReturnType<typeof fitTwoLines>
  readonly head: Fit
  readonly decode: Fit
  readonly prefill: Fit
}

function assemble({ dense, head, decode, prefill }: Parts): FittedLaw {
  const c = (fit: Fit, i: number): number => fit.coefficients[i] as number
  const error = ({ meanError, worstError, points }: Fit): Pick<Fit, 'meanError' | 'worstError' | 'points'> => ({
    meanError,
    worstError,
    points,
  })
  return {
    law: {
      dense: dense.lines.map(([baseMs, perTokenMs]) => ({ baseMs, perTokenMs })),
      head: { baseMs: c(head, 0), perCallMs: c(head, 1) },
      decode: { baseMs: c(decode, 0), perCallMs: c(decode, 1), perContextTokenMs: c(decode, 2) },
      prefill: { baseMs: c(prefill, 0), perTokenMs: c(prefill, 1), perCachedProductMs: c(prefill, 2), perSquareMs: c(prefill, 3) },
    },
    fits: { dense: error(dense), head: error(head), decode: error(decode), prefill: error(prefill) },
  }
}
