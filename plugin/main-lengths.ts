import { existsSync } from 'node:fs'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from './clock.ts'
import { BASE_FOLDER, readLengthModel, readTextReader } from './learning/model-folder.ts'
import { hashesOf } from './log/blob.ts'
import { databasePath } from './log/migrate.ts'
import { type AnsweredRow, lastCallsAfter, readAnswered } from './log/read/lengths.ts'
import { openReader, type Query, type Reader } from './log/read/reader.ts'
import { decodeHistory, encodeHistory } from './prediction/history-file.ts'
import { type AnsweredCall, createLearnedLength, type LearnedLength, relearn } from './prediction/learned-length.ts'
import { LengthHistory } from './prediction/length-history.ts'
import { LengthEvaluator, type LengthModel, ROW_WIDTH } from './prediction/length-model.ts'
import { createSafeReader } from './prediction/safe-reader.ts'
import type { TextReader } from './prediction/text/reading.ts'

/** The length predictor of the router process: its model, the history of applications, and how both outlive the process. */
export interface LiveLengths {
  readonly predictor: LearnedLength
  /** Reads a prompt for the doors; undefined where it is broken or off. */
  readonly readText: (text: string) => Float32Array | undefined
  /**
   * Puts the model of a folder in the place of the serving one and gives its version; the history is rebuilt from the log for it first, while calls go on.
   * Throws where the folder's model cannot be used; the serving one then stays.
   */
  swap(folder: string): Promise<string>
  /** A predictor of its own for a challenger, with the history as it would be had that one served. Throws as `swap` does. */
  beside(folder: string): Promise<LearnedLength>
  /** Saves the history. */
  close(): Promise<void>
}

export interface LengthsParts {
  readonly dataDir: string
  /** 'base', 'off', or the folder of a model. */
  readonly model: string
  readonly clock: Clock
  readonly count: (what: string) => void
  readonly warn: (text: string) => void
}

const HISTORY_FILE = 'length-history.bin'
/** Calls of the log that a history is rebuilt from, and how far back: half a second of work, and more than what histories remember of a busy application. */
const REBUILT_CALLS_MAX = 5_000
const REBUILT_DAYS_MAX = 7
const DAY_MS = 86_400_000
/** Rebuilt between two turns of the event loop: under a millisecond. */
const REBUILT_AT_ONCE = 10
/** A crash costs what the log does not have of this time: nothing but for calls beyond REBUILT_CALLS_MAX. */
const SAVE_EVERY_MS = 300_000

/** Opens the predictor. Never throws: without a usable model histograms serve, and the reason is told. */
export async function openLengths(parts: LengthsParts): Promise<LiveLengths> {
  const { dataDir, clock, count, warn } = parts
  const path = join(dataDir, HISTORY_FILE)
  const opened = parts.model === 'off' ? undefined : openModel(parts)
  const keeper = new Keeper(parts)
  const history = new LengthHistory()
  const resumed = await keeper.restore(history, { path, version: opened?.model.version ?? 'none' })
  keeper.covered = await keeper.rebuild(history, { model: opened?.model, afterId: resumed })
  const predictor = createLearnedLength({ model: opened?.model, history, nowMs: clock.nowMs, count })
  let dropped = 0
  const save = async (): Promise<void> => {
    for (; dropped < predictor.history.dropped; dropped++) count('length history forgotten for room')
    await keeper.save(path, predictor)
  }
  const timer = setInterval(
    () => void save().catch((error: unknown) => warn(`the length history was not saved: ${String(error)}`)),
    SAVE_EVERY_MS,
  )
  timer.unref()
  return {
    predictor,
    readText: opened?.readText ?? (() => undefined),
    async swap(folder) {
      const model = readLengthModel(folder)
      const rebuilt = new LengthHistory()
      await keeper.rebuild(rebuilt, { model, afterId: keeper.recent() })
      predictor.swap(model, rebuilt)
      dropped = 0
      return model.version
    },
    async beside(folder) {
      const model = readLengthModel(folder)
      const rebuilt = new LengthHistory()
      await keeper.rebuild(rebuilt, { model, afterId: keeper.recent() })
      return createLearnedLength({ model, history: rebuilt, nowMs: clock.nowMs, count })
    },
    async close() {
      clearInterval(timer)
      await save().catch((error: unknown) => warn(`the length history was not saved: ${String(error)}`))
    },
  }
}

function openModel({ model, clock, count, warn }: LengthsParts) {
  const folder = model === 'base' ? BASE_FOLDER : model
  try {
    const read = readTextReader(folder)
    const loaded = readLengthModel(folder)
    warmUp(loaded, read)
    return { model: loaded, readText: createSafeReader({ readText: read, nowMs: clock.nowMs, count }) }
  } catch (error) {
    count('length model not loaded')
    warn(`no length model: ${(error as Error).message}; lengths come from the history of applications alone`)
    return undefined
  }
}

/** Times that reader and model run before the first call: uncompiled they take milliseconds, and the first calls would find them late. */
const WARM_UP_TIMES = 200
const WARM_UP_TEXT =
  'Write a short overview of the history of this town in 5 points:\n- its founding\n- its trade\n"Keep it brief." '.repeat(6)

function warmUp(model: LengthModel, readText: TextReader): void {
  const evaluator = new LengthEvaluator()
  const history = new LengthHistory()
  const row = new Float32Array(ROW_WIDTH)
  const key = { pool: '', model: '', application: '', systemHash: 0 }
  for (let i = 0; i < WARM_UP_TIMES; i++) {
    row.set(readText(WARM_UP_TEXT).subarray(0, ROW_WIDTH))
    const forecast = history.forecast(key, evaluator.evaluate(model, row, NO_WORDS), { model, row })
    history.learn(key, { outputTokens: 100, censored: false }, forecast)
  }
}

interface Rebuilding {
  readonly model: LengthModel | undefined
  /** Only calls beyond this one. */
  readonly afterId: number
}

/** Saves histories and rebuilds them. */
class Keeper {
  readonly #parts: LengthsParts
  readonly #evaluator = new LengthEvaluator()
  /** The last call of the log that a history has learned from. */
  covered = 0

  constructor(parts: LengthsParts) {
    this.#parts = parts
  }

  /** Takes over a saved history and gives the last call it knows; where there is none of this model, the call before the last few thousand. */
  async restore(history: LengthHistory, { path, version }: { readonly path: string; readonly version: string }): Promise<number> {
    const recent = this.recent()
    if (!existsSync(path)) return recent
    try {
      const file = decodeHistory(await readFile(path))
      if (file.version !== version) return recent
      history.restore(file.saved)
      return Math.max(file.callId, recent)
    } catch (error) {
      this.#parts.count('length history not restored')
      this.#parts.warn(`the length history starts anew: ${(error as Error).message}`)
      return recent
    }
  }

  /** Writes the file beside the old one and puts it in its place. */
  async save(path: string, { version, history }: LearnedLength): Promise<void> {
    // Calls that are in the log by now were learned from; those under way are learned twice at worst after a crash.
    const callId = this.#read((query) => query.get<{ id: number }>('SELECT max(call_id) AS id FROM call')?.id) ?? this.covered
    const bytes = encodeHistory({ version, callId, saved: history.save() })
    await writeFile(`${path}.new`, bytes)
    await rename(`${path}.new`, path)
  }

  /** The call before the last few thousand of the last days; 0 where there is no log yet. */
  recent(): number {
    const fromUnixMs = this.#parts.clock.nowUnixMs() - REBUILT_DAYS_MAX * DAY_MS
    return this.#read((query) => lastCallsAfter(query, { count: REBUILT_CALLS_MAX, fromUnixMs })) ?? 0
  }

  /** Teaches a history the log's calls beyond one, a few per turn of the event loop, and gives the last of them. */
  async rebuild(history: LengthHistory, { model, afterId }: Rebuilding): Promise<number> {
    const reader = this.#open()
    if (!reader) return afterId
    let last = afterId
    try {
      for (;;) {
        const rows = reader.read((query) => readAnswered(query, { afterId: last, limit: REBUILT_AT_ONCE }))
        for (const row of rows) relearn(answeredOf(row, model), { model, history, evaluator: this.#evaluator })
        last = rows.at(-1)?.callId ?? last
        if (rows.length < REBUILT_AT_ONCE) return last
        await nextTurn()
      }
    } catch (error) {
      this.#parts.count('length history not rebuilt')
      this.#parts.warn(`the length history was not rebuilt from the log: ${(error as Error).message}`)
      return last
    } finally {
      reader.close()
    }
  }

  #read<T>(look: (query: Query) => T): T | undefined {
    const reader = this.#open()
    try {
      return reader?.read(look)
    } finally {
      reader?.close()
    }
  }

  #open(): Reader | undefined {
    const path = databasePath(this.#parts.dataDir, 'log')
    return existsSync(path) ? openReader(path) : undefined
  }
}

const NO_WORDS = new Uint32Array(0)

/** A row of the log as a history learns it; rows of another feature list teach histograms alone. */
function answeredOf(row: AnsweredRow, model: LengthModel | undefined): AnsweredCall {
  const { pool, application, task, systemHash, outputTokens, lengthRow, lengthFeatureHash, textFeatures } = row
  return {
    key: { pool, model: row.model, application, systemHash: systemHash ?? 0, ...(task === null ? {} : { task }) },
    row: lengthRow && lengthFeatureHash === model?.featureHash ? new Float16Array(Uint8Array.from(lengthRow).buffer) : undefined,
    words: textFeatures ? hashesOf(textFeatures) : NO_WORDS,
    outputTokens,
    censored: row.censored === 1,
  }
}
