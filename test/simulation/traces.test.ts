import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRng } from '../../plugin/rng.ts'
import { profileNamed } from '../../plugin/simulation/profiles.ts'
import { promptText } from '../../plugin/simulation/prompt-text.ts'
import { fleetCallsPerS, instanceCallsPerS } from '../../plugin/simulation/saturation.ts'
import { recogniseTask, TASKS } from '../../plugin/simulation/tasks.ts'
import { blockHashesOf, countTokens } from '../../plugin/simulation/tokens.ts'
import { readTrace } from '../../plugin/simulation/traces.ts'
import { burstingRate, drawCall, mixTrace } from '../../plugin/simulation/workload.ts'

let folder: string
let files = 0
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'phasewise-traces-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function file(text: string): Promise<string> {
  const path = join(folder, `${++files}.trace`)
  await writeFile(path, text)
  return path
}

describe('trace files', () => {
  test('Azure CSV of 2023 keeps its fractions of a millisecond, of 2024 its offset, further columns are passed over', async () => {
    const first = await file(
      '\uFEFFTIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:17:03.9799600,4808,10\r\n2023-11-16 18:17:04.0319650,3180,8\r\n',
    )
    expect(await readTrace(first)).toEqual([
      { atMs: 0, promptTokens: 4808, outputTokens: 10 },
      { atMs: expect.closeTo(52.005, 2), promptTokens: 3180, outputTokens: 8 },
    ])
    const second = await file(
      'TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,0,10,0\n2024-05-10 00:00:01.009930+00:00,1,20,3\n',
    )
    expect(await readTrace(second)).toEqual([
      { atMs: 0, promptTokens: 10, outputTokens: 1 },
      { atMs: expect.closeTo(1000, 3), promptTokens: 20, outputTokens: 3 },
    ])
  })

  test('Mooncake calls of one stamp are spread evenly until the next stamp', async () => {
    const line = (timestamp: number) => JSON.stringify({ timestamp, input_length: 600, output_length: 5, hash_ids: [1, 2] })
    const calls = await readTrace(await file([0, 0, 0, 3000, 6000, 6000].map(line).join('\n')))
    expect(calls.map((call) => call.atMs)).toEqual([0, 1000, 2000, 3000, 6000, 7500])
    expect(calls[0]!.hashIds).toEqual([1, 2])
  })

  test('our own JSONL carries application and task', async () => {
    const call = { atMs: 7, promptTokens: 3, outputTokens: 4, application: 'a', task: 'qna', hashIds: [9] }
    expect(await readTrace(await file(`${JSON.stringify(call)}\n\n`))).toEqual([{ ...call, atMs: 0 }])
  })

  test.each([
    ['TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,1', /line 2: "yesterday" is no time; write/],
    ['TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9,x,1', /line 2: "x" is no count of prompt tokens/],
    ['time,tokens\n1,2', /line 1: no column timestamp or arrived_at in "time,tokens"; a trace is an Azure CSV/],
    ['{"atMs":5,"promptTokens":1,"outputTokens":1}\n{"atMs":2,"promptTokens":1,"outputTokens":1}', /line 2: time goes back by 3 ms; sort/],
    ['{"atMs":5,"promptTokens":1}', /line 1: field outputTokens/],
    ['{"timestamp":0,', /line 1: not JSON; every line/],
    ['{"a":1}', /line 1: neither "timestamp" nor "atMs"/],
    ['', /the file is empty/],
  ])('a broken file names line and remedy: %j', async (text, message) => {
    await expect(readTrace(await file(text))).rejects.toThrow(message)
  })

  const shared = (name: string) => fileURLToPath(new URL(`../../../shared/data/${name}`, import.meta.url))
  const azure = shared('azure/AzureLLMInferenceTrace_conv.first1800s.csv')
  const mooncake = shared('mooncake/conversation_trace.first1800s.jsonl')

  test.skipIf(!existsSync(azure) || !existsSync(mooncake))(
    'the published traces are read whole (skipped where the data is absent)',
    async () => {
      const chat = await readTrace(azure)
      const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
      expect(chat.length / (chat.at(-1)!.atMs / 1000)).toBeGreaterThan(4)
      expect(mean(chat.map((c) => c.promptTokens))).toBeGreaterThan(900)
      const conversations = await readTrace(mooncake)
      expect(conversations).toHaveLength(5719)
      expect(new Set(conversations.map((c) => c.atMs)).size).toBe(5719)
      expect(conversations.every((c, i) => c.atMs >= (conversations[i - 1]?.atMs ?? 0))).toBe(true)
    },
  )
})

describe('prompt texts', () => {
  test('have exactly the wanted token count', () => {
    for (const task of [undefined, ...TASKS.map((t) => t.name)]) {
      for (const promptTokens of [1, 7, 8, 100, 1155]) {
        expect(countTokens(promptText({ promptTokens, seed: 5, ...(task ? { task } : {}) }))).toBe(promptTokens)
      }
    }
  })

  test('equal leading hash ids are equal text, other seeds share no block', () => {
    const [a, b, c] = [
      promptText({ promptTokens: 1200, hashIds: [1, 2, 3], seed: 1 }),
      promptText({ promptTokens: 1300, hashIds: [1, 2, 4], seed: 2 }),
      promptText({ promptTokens: 1200, seed: 3 }),
    ].map((text) => [...blockHashesOf(text)])
    expect(a!.slice(0, 64)).toEqual(b!.slice(0, 64))
    expect(a![64]).not.toBe(b![64])
    expect(c!.some((hash) => a!.includes(hash))).toBe(false)
    expect(a!.every(Number.isSafeInteger)).toBe(true)
  })

  test('are recognised as their task', () => {
    for (const task of TASKS) expect(recogniseTask(promptText({ promptTokens: 40, task: task.name, seed: 1 }))).toBe(task.name)
    expect(recogniseTask('tell me a story')).toBe('generic')
  })
})

describe('the generated mix', () => {
  test('has the means of the paper, within 4 sigma', () => {
    const rng = createRng(7)
    const calls = Array.from({ length: 20_000 }, () => drawCall(rng))
    for (const task of TASKS) {
      const own = calls.filter((call) => call.task === task.name)
      const mean = (of: (call: (typeof own)[number]) => number) => own.reduce((sum, call) => sum + of(call), 0) / own.length
      const sigma = {
        prompt: (0.6 * task.promptTokensMean) / Math.sqrt(own.length),
        output: (0.8 * task.outputTokensMean) / Math.sqrt(own.length),
      }
      expect(Math.abs(mean((c) => c.outputTokens) - task.outputTokensMean)).toBeLessThan(4 * sigma.output)
      expect(Math.abs(mean((c) => c.promptTokens) - task.promptTokensMean)).toBeLessThan(4 * sigma.prompt + 0.5)
      expect(own.every((call) => task.applications.includes(call.application))).toBe(true)
    }
  })

  test('arrivals follow the rate, in and out of a burst, within 4 sigma', () => {
    const rate = burstingRate({ baseCallsPerS: 10, burstCallsPerS: 40, everyMs: 10_000, burstMs: 2000 })
    let calm = 0
    let burst = 0
    for (const { atMs } of mixTrace({ rate, peakCallsPerS: 40, rng: createRng(3) })) {
      if (atMs > 1_000_000) break
      if (atMs % 10_000 >= 8000) burst++
      else calm++
    }
    expect(Math.abs(calm - 8000)).toBeLessThan(4 * Math.sqrt(8000))
    expect(Math.abs(burst - 8000)).toBeLessThan(4 * Math.sqrt(8000))
  })
})

describe('saturation', () => {
  test('a faster card completes more, and a time factor multiplies it', () => {
    expect(instanceCallsPerS(profileNamed('a100-llama-2-7b'))).toBeGreaterThan(3 * instanceCallsPerS(profileNamed('v100-llama-2-7b')))
    const one = fleetCallsPerS([{ name: 'x', profile: 'v100-paper' }])
    expect(fleetCallsPerS([{ name: 'x', profile: 'v100-paper', timeFactor: 4 }])).toBeCloseTo(4 * one, 9)
  })
})
