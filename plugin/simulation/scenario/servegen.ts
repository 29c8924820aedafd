import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Rng } from '../../rng.ts'
import type { TraceCall } from '../traces.ts'
import { gammaGaps, weibullGaps } from './arrivals.ts'

/** One client of ServeGen's production service (Xiang et al., 2025): its traffic per window of 600 s, its lengths per window of six hours. */
interface Client {
  readonly name: string
  readonly windows: readonly Window[]
  readonly lengths: ReadonlyMap<number, Lengths>
}

interface Window {
  readonly startS: number
  readonly callsPerS: number
  readonly family: 'Gamma' | 'Weibull'
  readonly shape: number
}

interface Lengths {
  readonly prompt: Histogram
  readonly output: Histogram
}

/** Values with their cumulated probability. */
interface Histogram {
  readonly values: readonly number[]
  readonly cumulated: readonly number[]
}

const WINDOW_S = 600
const LENGTHS_S = 21_600
/** Shapes below this come from windows with a handful of calls, and would draw thousands at one moment. Chosen: CV 10, as bursty as the busy windows are. */
const SHAPE_MIN = { Gamma: 0.01, Weibull: 0.25 } as const

/** All clients of a ServeGen folder (`chunk-N-trace.csv` beside `chunk-N-dataset.json`). */
export function readServeGen(folder: string): readonly Client[] {
  return globSync('chunk-*-trace.csv', { cwd: folder })
    .sort()
    .map((file) => readClient(folder, file.replace(/-trace\.csv$/, '')))
}

/**
 * Part of a day of the whole service: every client's own bursts and lengths, at `rateFactor` times its rate; from hour `fromHour` of the trace for `hours`, squeezed
 * into 1/`speed` of the time.
 */
export function drawServeGen(
  clients: readonly Client[],
  plan: { readonly fromHour: number; readonly hours: number; readonly rateFactor: number; readonly speed: number; readonly rng: Rng },
): TraceCall[] {
  const { fromHour, hours, speed } = plan
  const fromS = fromHour * 3600
  const untilS = fromS + hours * 3600
  return clients
    .flatMap((client) => drawClient(client, { ...plan, fromS, untilS, rng: plan.rng.stream(client.name) }))
    .sort((a, b) => a.atMs - b.atMs)
    .map((call) => ({ ...call, atMs: call.atMs / speed }))
}

function drawClient(
  client: Client,
  { fromS, untilS, rateFactor, rng }: { readonly fromS: number; readonly untilS: number; readonly rateFactor: number; readonly rng: Rng },
): TraceCall[] {
  const calls: TraceCall[] = []
  for (const { startS, callsPerS, family, ...window } of client.windows) {
    if (startS < fromS || startS >= untilS || !(callsPerS > 0)) continue
    const lengths = client.lengths.get(Math.floor(startS / LENGTHS_S) * LENGTHS_S)
    if (!lengths) continue
    const shape = Math.max(window.shape, SHAPE_MIN[family])
    const rate = { callsPerS: callsPerS * rateFactor, shape }
    const gapMs = family === 'Gamma' ? gammaGaps({ callsPerS: rate.callsPerS, cv: 1 / Math.sqrt(shape) }, rng) : weibullGaps(rate, rng)
    for (let atMs = gapMs(); atMs < WINDOW_S * 1000; atMs += gapMs()) {
      calls.push({
        atMs: (startS - fromS) * 1000 + atMs,
        promptTokens: draw(lengths.prompt, rng),
        outputTokens: draw(lengths.output, rng),
        application: client.name,
      })
    }
  }
  return calls
}

function readClient(folder: string, name: string): Client {
  const windows = readFileSync(join(folder, `${name}-trace.csv`), 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(','))
    .filter((cells) => Number(cells[1]) > 0 && (cells[3] === 'Gamma' || cells[3] === 'Weibull') && Number(cells[4]) > 0)
    .map((cells) => ({
      startS: Number(cells[0]),
      callsPerS: Number(cells[1]),
      family: cells[3] as Window['family'],
      shape: Number(cells[4]),
    }))
  const dataset = JSON.parse(readFileSync(join(folder, `${name}-dataset.json`), 'utf8')) as Record<
    string,
    { readonly input_tokens: string; readonly output_tokens: string }
  >
  const lengths = new Map<number, Lengths>()
  for (const [startS, told] of Object.entries(dataset)) {
    const prompt = readHistogram(told.input_tokens)
    const output = readHistogram(told.output_tokens)
    if (prompt.values.length > 0 && output.values.length > 0) lengths.set(Number(startS), { prompt, output })
  }
  return { name, windows, lengths }
}

/** "{172: 7.4e-05, 173: …}" as Python prints it. */
function readHistogram(text: string): Histogram {
  const values: number[] = []
  const cumulated: number[] = []
  let sum = 0
  for (const [, value, probability] of text.matchAll(/(\d+)(?:\.0)?: ([\d.e+-]+)/g)) {
    sum += Number(probability)
    values.push(Math.max(1, Number(value)))
    cumulated.push(sum)
  }
  return { values, cumulated }
}

function draw({ values, cumulated }: Histogram, rng: Rng): number {
  const target = rng.next() * (cumulated.at(-1) as number)
  let low = 0
  let high = cumulated.length - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if ((cumulated[middle] as number) < target) low = middle + 1
    else high = middle
  }
  return values[low] as number
}
