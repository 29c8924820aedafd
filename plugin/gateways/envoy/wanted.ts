import { DESTINATION_KEY } from './messages.ts'

/** Headers that somebody here reads; all others are not even made into texts. */
export const WANTED_HEADERS: readonly string[] = [
  ':path',
  ':method',
  ':status',
  'content-type',
  'content-encoding',
  'content-length',
  'traceparent',
  'tracestate',
  'x-envoy-upstream-service-time',
  // Seen in a request it means that callers can name their own: doctor tells.
  DESTINATION_KEY,
  'x-phasewise-application',
  'x-phasewise-tenant',
  'x-phasewise-priority',
  'x-phasewise-task',
  'x-llm-d-inference-fairness-id',
  'x-llm-d-inference-objective',
  'x-slo-ttft-ms',
  'x-slo-tpot-ms',
]

/** The bit that small letters have and capital ones have not; signs have it too. */
const LOWER_CASE = 0x20

const WANTED = new Set(WANTED_HEADERS)
/** A name's length and first byte tell nearly always that it is not wanted. */
const SHAPES = new Set(WANTED_HEADERS.map((name) => shapeOf(name.length, name.charCodeAt(0))))
function shapeOf(length: number, first: number): number {
  return length * 256 + (first | LOWER_CASE)
}

/** The name in [start, end) of `bytes` in lower case, where it is one of the wanted; undefined otherwise. */
export function wantedName(bytes: Buffer, start: number, end: number): string | undefined {
  if (!SHAPES.has(shapeOf(end - start, bytes[start] ?? 0))) return undefined
  const name = bytes.toString('latin1', start, end)
  if (WANTED.has(name)) return name
  const lower = name.toLowerCase()
  return WANTED.has(lower) ? lower : undefined
}
