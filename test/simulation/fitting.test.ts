import { existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { compareRun, replayRun } from '../../plugin/simulation/accuracy.ts'
import { fitNonNegative, fitTwoLines } from '../../plugin/simulation/fitting/least-squares.ts'
import { fitSource, PROFILE_SOURCES } from '../../plugin/simulation/fitting/sources.ts'
import { readProfile } from '../../plugin/simulation/profile-file.ts'
import { PROFILES, profileNamed } from '../../plugin/simulation/profiles.ts'
import { readRecordedRun } from '../../plugin/simulation/recorded-run.ts'

const DATA = new URL('../../../shared/data/', import.meta.url).pathname
const RUN = `${DATA}llmservingsim/bench/examples/RTX4090/Llama-3.1-8B`

describe('fitting', () => {
  test('finds the coefficients that made the points, and none below zero', () => {
    const points = Array.from({ length: 40 }, (_, i) => ({ factors: [1, i, i * (i % 7)], ms: 5 + 0.3 * i + 0.02 * i * (i % 7) }))
    const fit = fitNonNegative(points)
    for (const [i, expected] of [5, 0.3, 0.02].entries()) expect(fit.coefficients[i]).toBeCloseTo(expected, 9)
    expect(fit.worstError).toBeLessThan(1e-9)
    const shrinking = fitNonNegative(points.map(({ factors, ms }) => ({ factors: [...factors, -1], ms })))
    expect(Math.min(...shrinking.coefficients)).toBeGreaterThanOrEqual(0)
  })

  test('finds two lines and where they meet', () => {
    const { lines, worstError } = fitTwoLines(
      Array.from({ length: 60 }, (_, i) => ({ x: 10 * i, ms: Math.max(15 + 0.03 * 10 * i, 5 + 0.09 * 10 * i) })),
    )
    expect(lines.flat().map((value) => Number(value.toFixed(6)))).toEqual([15, 0.03, 5, 0.09])
    expect(worstError).toBeLessThan(1e-9)
  })
})

describe('profiles and recorded runs from files', () => {
  const folder = mkdtempSync(join(tmpdir(), 'phasewise-run-'))

  test('a profile is read by name or from JSON, and a wrong field is named', () => {
    const file = join(folder, 'profile.json')
    writeFileSync(file, JSON.stringify({ ...profileNamed('a100-7b'), name: 'mine', fittedFrom: 'here' }))
    expect(readProfile(file)).toEqual({ ...profileNamed('a100-7b'), name: 'mine' })
    expect(readProfile('a100-7b')).toBe(profileNamed('a100-7b'))
    writeFileSync(file, JSON.stringify({ ...profileNamed('a100-7b'), seats: 0 }))
    expect(() => readProfile(file)).toThrow('field seats')
  })

  test('any folder of the format is a run: settings as the engine told them, calls by arrival, several replicas', () => {
    mkdirSync(join(folder, 'vllm'))
    const meta = {
      model: 'm',
      engine_kwargs: { max_num_seqs: 8, data_parallel_size: 2 },
      kv_cache: { num_gpu_blocks: 400, block_size: 32 },
    }
    writeFileSync(join(folder, 'vllm', 'meta.json'), JSON.stringify(meta))
    const call = (queued: number) => ({
      input_toks: 100,
      output_toks: 20,
      queued_ts: queued,
      first_token_ts: queued + 0.5,
      last_token_ts: queued + 2,
    })
    writeFileSync(join(folder, 'vllm', 'requests.jsonl'), [call(12), call(11)].map((one) => JSON.stringify(one)).join('\n'))
    const run = readRecordedRun(folder)
    expect(run).toMatchObject({ kvBlocks: 800, seats: 8, budgetTokens: 2048, replicas: 2 })
    expect(run.calls.map((one) => [one.atMs, one.ttftMs, one.e2eMs])).toEqual([
      [0, 500, 2000],
      [1000, 500, 2000],
    ])
    expect(readRecordedRun(join(folder, 'vllm'))).toEqual(run)
    const played = replayRun(run, profileNamed('a100-7b'))
    expect(compareRun(run, played).map((error) => error.latency)).toEqual(['ttft', 'tpot', 'e2e'])
    writeFileSync(join(folder, 'vllm', 'requests.jsonl'), '{"input_toks": 1}')
    expect(() => readRecordedRun(folder)).toThrow('requests.jsonl, line 1: field output_toks')
  })
})

describe.skipIf(!existsSync(RUN))('against measurements (skipped where the data is absent)', () => {
  test('the shipped fits are what the script fits', () => {
    const shipped = JSON.parse(readFileSync(new URL('../../plugin/simulation/fitted-profiles.json', import.meta.url), 'utf8')) as {
      name: string
    }[]
    expect(shipped.map((one) => one.name)).toEqual(PROFILE_SOURCES.map((one) => one.name))
    for (const source of PROFILE_SOURCES) expect(fitSource(source, DATA)?.profile).toEqual(PROFILES.get(source.name))
  })

  test('a profile fitted from operator times alone plays the real run within 2 % of each mean and 5 % of each p90', () => {
    const run = readRecordedRun(RUN)
    for (const name of ['rtx4090-llama-3.1-8b', 'rtx4090-llama-3.1-8b-refit'])
      for (const error of compareRun(run, replayRun(run, profileNamed(name)))) {
        expect(Math.abs(error.mean), `${name} ${error.latency}`).toBeLessThan(0.02)
        expect(Math.abs(error.p90), `${name} ${error.latency} p90`).toBeLessThan(0.05)
      }
  })
})
