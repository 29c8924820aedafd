import { FOLDS, METRICS, type Signal } from './metric-names.ts'

/** What one /metrics body said. NaN is unknown: the metric is missing, or is no finite number; never 0. */
export interface EngineMetrics {
  readonly waiting: number
  readonly running: number
  readonly kvUsageRatio: number
  readonly kvBlocks: number
  readonly kvBlockTokens: number
  readonly prefixHits: number
  readonly prefixQueries: number
  /** Where the engine tells the ratio itself; else it follows from the two counters. */
  readonly prefixHitRatio: number
  readonly preemptions: number
  readonly steps: number
  readonly ends: number
  /** Adapters loaded, undefined where the engine does not tell. */
  readonly adapters: ReadonlySet<string> | undefined
}

interface Folded {
  sum: number
  count: number
  max: number
}

interface Reading {
  readonly values: Map<Signal, Folded>
  /** SGLang with metrics of all ranks repeats each value per tensor-parallel rank: largest per group of labels without the rank. */
  readonly ranked: Map<string, { readonly signal: Signal; value: number }>
  adaptersAt: number
  adapters: string | undefined
}

const NEWLINE = 10
const HASH = 35

/**
 * Reads the few lines that matter out of a Prometheus text body of any engine in `METRICS`. A line scan, no parser: a body has
 * hundreds of lines and about ten are asked for. A last line without its line end was cut off and is not believed.
 */
export function readMetrics(text: string): EngineMetrics {
  const reading: Reading = { values: new Map(), ranked: new Map(), adaptersAt: Number.NEGATIVE_INFINITY, adapters: undefined }
  let start = 0
  // Histograms repeat one name, with what ends it, for twenty lines: not asked for once, not asked for again.
  let skipped = '#'
  for (let end = text.indexOf('\n'); end >= 0; start = end + 1, end = text.indexOf('\n', start)) {
    const first = text.charCodeAt(start)
    if (first === HASH || first === NEWLINE || text.startsWith(skipped, start)) continue
    const nameEnd = nameEndOf(text, start, end)
    const signal = METRICS.get(text.slice(start, nameEnd))
    if (signal === undefined) skipped = text.slice(start, nameEnd + 1)
    else readLine(reading, signal, text.slice(nameEnd, end))
  }
  for (const { signal, value } of reading.ranked.values()) add(reading, signal, value)
  return conclude(reading)
}

/** Label names to values of a Prometheus label set, from its opening brace on; undefined where it does not close. `end` is past the brace. */
export function readLabels(text: string): { readonly labels: ReadonlyMap<string, string>; readonly end: number } | undefined {
  const labels = new Map<string, string>()
  const pattern = /\s*([A-Za-z_][\w]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?|\s*(\})/y
  pattern.lastIndex = 1
  for (;;) {
    const match = pattern.exec(text)
    if (match === null) return undefined
    if (match[3] !== undefined) return { labels, end: pattern.lastIndex }
    labels.set(match[1] ?? '', unescapeLabel(match[2] ?? ''))
  }
}

function unescapeLabel(text: string): string {
  return text.includes('\\') ? text.replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c)) : text
}

function nameEndOf(text: string, start: number, end: number): number {
  for (let i = start; i < end; i++) {
    const c = text.charCodeAt(i)
    // space, tab, opening brace
    if (c === 32 || c === 9 || c === 123) return i
  }
  return end
}

function readLine(reading: Reading, signal: Signal, rest: string): void {
  const labelled = rest.charCodeAt(0) === 123 ? readLabels(rest) : undefined
  if (rest.charCodeAt(0) === 123 && labelled === undefined) return
  const value = readValue(labelled === undefined ? rest : rest.slice(labelled.end))
  if (signal === 'cacheLabels') readCacheLabels(reading, labelled?.labels)
  else if (signal === 'adapterLabels') readAdapterLabels(reading, labelled?.labels, value)
  else if (labelled?.labels.has('tp_rank')) addRanked(reading, signal, labelled.labels, value)
  else add(reading, signal, value)
}

/** The number after a metric's name and labels; NaN where it is missing, infinite or no number. A time stamp behind it is ignored. */
function readValue(rest: string): number {
  const token = /^\s*(\S+)/.exec(rest)?.[1]
  // Number() alone would read '' as 0 and '0x10' as 16.
  if (token === undefined || !/^[+-]?(\d|\.\d)[\d.eE+-]*$/.test(token)) return Number.NaN
  return finite(Number(token))
}

function finite(value: number): number {
  return Number.isFinite(value) ? value : Number.NaN
}

function add(reading: Reading, signal: Signal, value: number): void {
  const folded = reading.values.get(signal)
  if (folded === undefined) {
    reading.values.set(signal, { sum: value, count: 1, max: value })
    return
  }
  folded.sum += value
  folded.count++
  folded.max = Math.max(folded.max, value)
}

function addRanked(reading: Reading, signal: Signal, labels: ReadonlyMap<string, string>, value: number): void {
  let group: string = signal
  for (const [name, label] of labels) if (!/^(tp|pp|moe_ep|ep)_rank$/.test(name)) group += `|${name}=${label}`
  const known = reading.ranked.get(group)
  if (known === undefined) reading.ranked.set(group, { signal, value })
  else known.value = Math.max(known.value, value)
}

function readCacheLabels(reading: Reading, labels: ReadonlyMap<string, string> | undefined): void {
  const blockTokens = sizeOf(labels?.get('block_size') ?? labels?.get('page_size'))
  const blocks = sizeOf(labels?.get('num_gpu_blocks') ?? labels?.get('num_pages'))
  const tokens = sizeOf(labels?.get('kv_cache_size_tokens'))
  if (!Number.isNaN(blockTokens)) add(reading, 'kvBlockTokens', blockTokens)
  if (!Number.isNaN(blocks)) add(reading, 'kvBlocks', blocks)
  else if (!Number.isNaN(tokens)) add(reading, 'kvTokens', tokens)
}

/** A size in a label, > 0; NaN for 'None', '0' and the like. */
function sizeOf(label: string | undefined): number {
  const size = label === undefined ? Number.NaN : readValue(label)
  return size > 0 ? size : Number.NaN
}

/** vLLM keeps one line per combination that ever was; the value is when it was last true, so the largest is now. */
function readAdapterLabels(reading: Reading, labels: ReadonlyMap<string, string> | undefined, value: number): void {
  const running = labels?.get('running_lora_adapters')
  if (running === undefined || !(value >= reading.adaptersAt)) return
  reading.adaptersAt = value
  reading.adapters = running
}

function conclude(reading: Reading): EngineMetrics {
  const of = (signal: Signal): number => {
    const folded = reading.values.get(signal)
    if (folded === undefined) return Number.NaN
    if (FOLDS[signal] === 'max') return folded.max
    return FOLDS[signal] === 'mean' ? folded.sum / folded.count : folded.sum
  }
  const kvBlockTokens = of('kvBlockTokens')
  const kvBlocks = of('kvBlocks')
  return {
    waiting: of('waiting'),
    running: of('running'),
    kvUsageRatio: of('kvUsageRatio'),
    kvBlocks: Number.isNaN(kvBlocks) ? Math.floor(of('kvTokens') / kvBlockTokens) : kvBlocks,
    kvBlockTokens,
    prefixHits: of('prefixHits'),
    prefixQueries: of('prefixQueries'),
    prefixHitRatio: of('prefixHitRatio'),
    preemptions: of('preemptions'),
    steps: of('steps'),
    ends: of('ends'),
    adapters: reading.adapters === undefined ? undefined : namesIn(reading.adapters),
  }
}

function namesIn(list: string): ReadonlySet<string> {
  return new Set(
    list
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== ''),
  )
}
