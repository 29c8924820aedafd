import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { z } from 'zod'
import { TASKS, type TaskName } from './tasks.ts'

/** One call of a trace. */
export interface TraceCall {
  /** From the trace's start, ms, never decreasing. */
  readonly atMs: number
  readonly promptTokens: number
  readonly outputTokens: number
  /** Ids of the prompt's 512-token blocks, chained: equal leading ids are an equal prefix. */
  readonly hashIds?: readonly number[]
  readonly application?: string
  readonly task?: TaskName
}

/** A trace file that cannot be read: names file, line and what to do. */
export class TraceError extends Error {
  constructor(where: { readonly path: string; readonly line: number }, problem: string, cause?: unknown) {
    super(`${where.path}, line ${where.line}: ${problem}`, { cause })
    this.name = 'TraceError'
  }
}

const FORMATS = [
  'an Azure CSV (columns TIMESTAMP, ContextTokens, GeneratedTokens)',
  'a Mooncake JSONL ({"timestamp", "input_length", "output_length", "hash_ids"} per line)',
  'our own JSONL ({"atMs", "promptTokens", "outputTokens", "hashIds"?, "application"?, "task"?} per line)',
].join(', ')

/** Whole trace in memory, in order of time. Throws `TraceError`, or what the file system says. */
export async function readTrace(path: string): Promise<TraceCall[]> {
  const calls: TraceCall[] = []
  for await (const call of streamTrace(path)) calls.push(call)
  return calls
}

/**
 * A trace call by call, in constant memory. The format is told from the first line: Azure CSV (2023, 2024, and with further
 * columns), Mooncake JSONL, or our own JSONL: one object per line, `atMs` in ms from the start, `promptTokens`, `outputTokens`, and
 * optionally `hashIds` (ids of 512-token blocks), `application` and `task`. Times start at 0 with the first call.
 */
export async function* streamTrace(path: string): AsyncGenerator<TraceCall> {
  const lines = createInterface({ input: createReadStream(path, 'utf8'), crlfDelay: Number.POSITIVE_INFINITY })
  let line = 0
  let read: ((text: string) => Stamped) | undefined
  let startMs: number | undefined
  let lastMs = 0
  const ties = new TieSpreader()
  for await (const raw of lines) {
    line++
    const text = line === 1 ? raw.replace(/^\uFEFF/, '') : raw
    if (text.trim() === '') continue
    try {
      if (!read) {
        const format = formatOf(text)
        read = format.read
        if (format.headerOnly) continue
      }
      const { stampMs, ...call } = read(text)
      startMs ??= stampMs
      const atMs = stampMs - startMs
      if (atMs < lastMs) throw new Error(`time goes back by ${lastMs - atMs} ms; sort the file by time`)
      lastMs = atMs
      yield* ties.push({ ...call, atMs })
    } catch (cause) {
      throw new TraceError({ path, line }, cause instanceof Error ? cause.message : String(cause), cause)
    }
  }
  if (!read) throw new TraceError({ path, line }, `the file is empty; a trace is ${FORMATS}`)
  yield* ties.flush()
}

type Stamped = Omit<TraceCall, 'atMs'> & { readonly stampMs: number }

interface Format {
  readonly headerOnly: boolean
  readonly read: (text: string) => Stamped
}

function formatOf(firstLine: string): Format {
  if (!firstLine.trimStart().startsWith('{')) return { headerOnly: true, read: csvReader(firstLine) }
  const fields = parseObject(firstLine)
  if ('timestamp' in fields) return { headerOnly: false, read: readMooncake }
  if ('atMs' in fields) return { headerOnly: false, read: readOwn }
  throw new Error(`neither "timestamp" nor "atMs" in the first object; a trace is ${FORMATS}`)
}

/** Column names that mean the same, by dataset. */
const COLUMNS = {
  time: ['timestamp', 'arrived_at'],
  prompt: ['contexttokens', 'num_prefill_tokens'],
  output: ['generatedtokens', 'num_decode_tokens'],
}

function csvReader(header: string): (text: string) => Stamped {
  const names = header.split(',').map((name) => name.trim().toLowerCase())
  const indexOf = (wanted: readonly string[]): number => {
    const index = names.findIndex((name) => wanted.includes(name))
    if (index < 0) throw new Error(`no column ${wanted.join(' or ')} in "${header}"; a trace is ${FORMATS}`)
    return index
  }
  const at = { time: indexOf(COLUMNS.time), prompt: indexOf(COLUMNS.prompt), output: indexOf(COLUMNS.output) }
  return (text) => {
    const cells = text.split(',')
    return {
      stampMs: parseStamp(cells[at.time] ?? ''),
      promptTokens: parseTokens(cells[at.prompt], 'prompt tokens'),
      outputTokens: parseTokens(cells[at.output], 'output tokens'),
    }
  }
}

/** "2023-11-16 18:17:03.9799600", with or without an offset, or plain seconds. Read by hand: Date drops digits beyond the millisecond. */
function parseStamp(text: string): number {
  const match = /^\s*(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:?\d\d)?\s*$/.exec(text)
  if (match) return Date.parse(`${match[1]}T${match[2]}${match[4] ?? 'Z'}`) + Number(`0${match[3] ?? '.0'}`) * 1000
  const seconds = Number(text)
  if (text.trim() === '' || !Number.isFinite(seconds)) throw new Error(`"${text}" is no time; write YYYY-MM-DD HH:MM:SS.fff or seconds`)
  return seconds * 1000
}

function parseTokens(text: string | undefined, what: string): number {
  const value = Number(text)
  if (text === undefined || text.trim() === '' || !Number.isInteger(value) || value < 0)
    throw new Error(`"${text ?? ''}" is no count of ${what}`)
  return Math.max(1, value)
}

const tokens = z
  .number()
  .int()
  .min(0)
  .transform((value) => Math.max(1, value))
const hashIds = z.array(z.number().int()).optional()
const mooncake = z.object({ timestamp: z.number(), input_length: tokens, output_length: tokens, hash_ids: hashIds })
const own = z.object({
  atMs: z.number().min(0),
  promptTokens: tokens,
  outputTokens: tokens,
  hashIds,
  application: z.string().optional(),
  task: z.enum(TASKS.map((task) => task.name)).optional(),
})

function readMooncake(text: string): Stamped {
  const row = check(mooncake.safeParse(parseObject(text)))
  return {
    stampMs: row.timestamp,
    promptTokens: row.input_length,
    outputTokens: row.output_length,
    ...(row.hash_ids ? { hashIds: row.hash_ids } : {}),
  }
}

function readOwn(text: string): Stamped {
  const { atMs, promptTokens, outputTokens, ...rest } = check(own.safeParse(parseObject(text)))
  const { hashIds: ids, application, task } = rest
  return {
    stampMs: atMs,
    promptTokens,
    outputTokens,
    ...(ids ? { hashIds: ids } : {}),
    ...(application === undefined ? {} : { application }),
    ...(task === undefined ? {} : { task }),
  }
}

function check<T>(result: z.ZodSafeParseResult<T>): T {
  if (result.success) return result.data
  const issue = result.error.issues[0]
  throw new Error(`field ${issue?.path.join('.') || '(root)'}: ${issue?.message ?? 'invalid'}`)
}

function parseObject(text: string): object {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null) return value
  } catch (cause) {
    throw new Error('not JSON; every line has to be one whole object', { cause })
  }
  throw new Error('not an object; every line has to be one whole object')
}

/**
 * Stamps come in coarse steps in some traces (3 s in Mooncake's): calls of one stamp are spread evenly until the next stamp, the last
 * group over the step before it.
 */
class TieSpreader {
  #group: TraceCall[] = []
  #stepMs = 0

  /** Takes the next call, gives those whose time is now known. */
  push(call: TraceCall): TraceCall[] {
    const groupMs = this.#group[0]?.atMs
    if (groupMs === undefined || call.atMs === groupMs) {
      this.#group.push(call)
      return []
    }
    this.#stepMs = call.atMs - groupMs
    const known = this.flush()
    this.#group = [call]
    return known
  }

  flush(): TraceCall[] {
    const group = this.#group
    this.#group = []
    return group.map((call, index) => ({ ...call, atMs: call.atMs + (this.#stepMs * index) / group.length }))
  }
}
