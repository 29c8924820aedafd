import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { createEngine, type EngineOptions } from '../../plugin/simulation/engine.ts'
import { type Profile, profileNamed } from '../../plugin/simulation/profiles.ts'

const A100 = profileNamed('a100-llama-2-7b')
const V100_V0 = profileNamed('v100-32g')

interface Submission {
  readonly atMs: number
  readonly promptTokens: number
  readonly outputTokens: number
  readonly blockHashes?: readonly number[]
}

interface Timing {
  readonly ttftMs: number
  readonly tpotMs: number
  readonly e2eMs: number
}

/** Runs calls through one engine in simulated time. */
function run(options: EngineOptions, calls: readonly Submission[]): { timings: Timing[]; engine: ReturnType<typeof createEngine> } {
  const engine = createEngine(options)
  const firstMs: number[] = []
  const endMs: number[] = []
  let nowMs = 0
  let next = 0
  while (next < calls.length || !engine.idle) {
    for (let call = calls[next]; call && call.atMs <= nowMs; call = calls[next]) engine.submit({ id: next++, ...call })
    if (engine.idle) {
      nowMs = calls[next]!.atMs
      continue
    }
    const step = engine.step()
    nowMs += step.durationMs
    for (const { id, first, finished } of step.emitted) {
      if (first) firstMs[id] = nowMs
      if (finished) endMs[id] = nowMs
    }
  }
  const timings = calls.map((call, id) => ({
    ttftMs: firstMs[id]! - call.atMs,
    tpotMs: (endMs[id]! - firstMs[id]!) / (call.outputTokens - 1),
    e2eMs: endMs[id]! - call.atMs,
  }))
  return { timings, engine }
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

describe('the engine', () => {
  test('the first token comes out of the step that ends the prompt', () => {
    const engine = createEngine({ profile: A100, budgetTokens: 512 })
    engine.submit({ id: 1, promptTokens: 1000, outputTokens: 2 })
    expect(engine.step().emitted).toEqual([])
    expect(engine.step().emitted).toEqual([{ id: 1, tokens: 1, first: true, finished: false, cachedTokens: 0 }])
    expect(engine.step().emitted).toEqual([{ id: 1, tokens: 1, first: false, finished: true, cachedTokens: 0 }])
    expect(engine.step()).toEqual({ durationMs: 0, emitted: [], preempted: [] })
  })

  test('a prefill slows the calls that decode on the same instance', () => {
    const decoding = { atMs: 0, promptTokens: 50, outputTokens: 100 }
    const alone = run({ profile: A100 }, [decoding]).timings[0]!
    const disturbed = run({ profile: A100 }, [
      decoding,
      ...[1, 2, 3, 4].map((i) => ({ atMs: i * 150, promptTokens: 3000, outputTokens: 1 })),
    ])
    expect(disturbed.timings[0]!.tpotMs).toBeGreaterThan(1.5 * alone.tpotMs)
  })

  test('in v0 order a prefill stops all decodes', () => {
    const engine = createEngine({ profile: V100_V0 })
    engine.submit({ id: 1, promptTokens: 10, outputTokens: 5 })
    engine.step()
    engine.submit({ id: 2, promptTokens: 800, outputTokens: 5 })
    expect(engine.step().emitted.map((e) => e.id)).toEqual([2])
    expect(engine.step().emitted.map((e) => e.id)).toEqual([1, 2])
  })

  test('two calls batch: together they take far less than one after the other', () => {
    const call = { atMs: 0, promptTokens: 20, outputTokens: 200 }
    const alone = run({ profile: A100 }, [call]).timings[0]!.e2eMs
    const both = run({ profile: A100 }, [call, call]).timings.map((t) => t.e2eMs)
    expect(Math.max(...both)).toBeLessThan(1.1 * alone)
  })

  test('TPOT grows with the context', () => {
    const [short, long] = [100, 8000].map(
      (promptTokens) => run({ profile: A100 }, [{ atMs: 0, promptTokens, outputTokens: 50 }]).timings[0]!.tpotMs,
    )
    expect(long! - short!).toBeCloseTo(7900 * 3.7e-4, 6)
  })

  test('when blocks run short the last running call is preempted, recomputed, and everybody ends', () => {
    const engine = createEngine({ profile: A100, kvBlocks: 10 })
    for (const id of [1, 2]) engine.submit({ id, promptTokens: 60, outputTokens: 60 })
    const preempted: number[] = []
    const finished: number[] = []
    let emitted = 0
    for (let i = 0; i < 1000 && !engine.idle; i++) {
      const step = engine.step()
      preempted.push(...step.preempted)
      emitted += step.emitted.length
      finished.push(...step.emitted.filter((e) => e.finished).map((e) => e.id))
    }
    expect(preempted).toEqual([2])
    expect(finished).toEqual([1, 2])
    expect(emitted).toBe(120)
    expect(engine.stats().kvBlocksUsed).toBe(0)
  })

  test('nobody is admitted in a step that preempted', () => {
    const engine = createEngine({ profile: A100, kvBlocks: 9 })
    engine.submit({ id: 1, promptTokens: 60, outputTokens: 60 })
    engine.submit({ id: 2, promptTokens: 60, outputTokens: 60 })
    engine.step()
    engine.submit({ id: 3, promptTokens: 1, outputTokens: 1 })
    let step = engine.step()
    while (step.preempted.length === 0) step = engine.step()
    expect(step.emitted.map((e) => e.id)).toEqual([1])
  })

  test('a shared prefix skips prefill, and all but the last token may come from the cache', () => {
    const blockHashes = Array.from({ length: 64 }, (_, i) => i + 1)
    const call = { promptTokens: 1024, outputTokens: 3, blockHashes }
    const { timings, engine } = run({ profile: A100 }, [
      { atMs: 0, ...call },
      { atMs: 5000, ...call },
    ])
    expect(timings[1]!.ttftMs).toBeLessThan(timings[0]!.ttftMs / 3)
    expect(engine.stats()).toMatchObject({ prefixQueryTokens: 2048, prefixHitTokens: 1008, kvBlocksUsed: 0, kvBlocksIdle: 64 })
  })

  test('the least recently used prefix is evicted first, and the end of a prompt before its start', () => {
    const engine = createEngine({ profile: A100, kvBlocks: 10 })
    const hashes = (start: number) => Array.from({ length: 4 }, (_, i) => start + i)
    // Ten blocks, three prompts of four: the third takes the two that are free and evicts two of the first.
    const play = (id: number, start: number) => {
      engine.submit({ id, promptTokens: 64, outputTokens: 1, blockHashes: hashes(start) })
      while (!engine.idle) engine.step()
    }
    play(1, 100)
    play(2, 200)
    play(3, 300)
    const before = engine.stats().prefixHitTokens
    play(4, 100)
    expect(engine.stats().prefixHitTokens - before).toBe(32)
  })

  test('an aborted call gives its blocks back at once, wherever it stands', () => {
    const engine = createEngine({ profile: A100, seats: 1 })
    engine.submit({ id: 1, promptTokens: 100, outputTokens: 50 })
    engine.submit({ id: 2, promptTokens: 100, outputTokens: 50 })
    engine.step()
    expect(engine.abort(1)).toBe(true)
    expect(engine.abort(2)).toBe(true)
    expect(engine.abort(2)).toBe(false)
    expect(engine.stats()).toMatchObject({ running: 0, waiting: 0, kvBlocksUsed: 0 })
    expect(engine.idle).toBe(true)
  })

  test('a full queue and an impossible prompt are refused by name', () => {
    const engine = createEngine({ profile: A100, kvBlocks: 10, maxQueued: 1 })
    expect(engine.submit({ id: 1, promptTokens: 200, outputTokens: 1 })).toBe('too long')
    expect(engine.submit({ id: 2, promptTokens: 20, outputTokens: 1 })).toBe('queued')
    expect(engine.submit({ id: 3, promptTokens: 20, outputTokens: 1 })).toBe('full')
  })
})

const RUN = new URL('../../../shared/data/llmservingsim/bench/examples/RTX4090/Llama-3.1-8B/vllm/requests.jsonl', import.meta.url)

interface RealCall {
  readonly input_toks: number
  readonly output_toks: number
  readonly queued_ts: number
  readonly first_token_ts: number
  readonly last_token_ts: number
}

function readRun(): RealCall[] | undefined {
  try {
    const lines = readFileSync(RUN, 'utf8').trim().split('\n')
    return lines.map((line) => JSON.parse(line) as RealCall).sort((a, b) => a.queued_ts - b.queued_ts)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw cause
  }
}

const realCalls = readRun()

describe.skipIf(!realCalls)(
  'against a real vLLM 0.19 on an RTX 4090, 300 ShareGPT calls deep in queueing (skipped where the data is absent)',
  () => {
    const calls = realCalls ?? []
    const profile: Profile = profileNamed('rtx4090-llama-3.1-8b')

    test('mean TTFT, TPOT and E2E are within 2 %', () => {
      const startTs = calls[0]!.queued_ts
      const { timings } = run(
        { profile },
        calls.map((call) => ({ atMs: (call.queued_ts - startTs) * 1000, promptTokens: call.input_toks, outputTokens: call.output_toks })),
      )
      const error = (ours: (t: Timing) => number, theirs: (c: RealCall) => number): number =>
        mean(timings.map(ours)) / mean(calls.map(theirs)) - 1
      const errors = {
        ttft: error(
          (t) => t.ttftMs,
          (c) => (c.first_token_ts - c.queued_ts) * 1000,
        ),
        tpot: error(
          (t) => t.tpotMs,
          (c) => ((c.last_token_ts - c.first_token_ts) * 1000) / (c.output_toks - 1),
        ),
        e2e: error(
          (t) => t.e2eMs,
          (c) => (c.last_token_ts - c.queued_ts) * 1000,
        ),
      }
      for (const [name, value] of Object.entries(errors)) {
        console.log(`${name}: ${(100 * value).toFixed(2)} %`)
        expect(Math.abs(value), name).toBeLessThan(0.02)
      }
    })
  },
)
