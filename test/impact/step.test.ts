import { describe, expect, test } from 'vitest'
import { addChunk, addDecode, clearWork, emptyWork, simpleLaw, stepMs } from '../../plugin/impact/step.ts'
import { profileNamed } from '../../plugin/simulation/profiles.ts'

describe('the step law', () => {
  test('a decode step of the RTX 4090 row is the sum of its stated terms', () => {
    const work = emptyWork()
    for (let i = 0; i < 10; i++) addDecode(work, 500)
    const dense = Math.max(15.463 + 0.03227 * 10, 5.211 + 0.08802 * 10)
    const expected = dense + (1.104 + 0.00302 * 10) + (0.38 + 0.0039 * 10 + 1.42e-4 * 5000)
    expect(stepMs(profileNamed('rtx4090-llama-3.1-8b').law, work)).toBeCloseTo(expected, 9)
  })

  test('a prefill chunk costs its attention over what is cached already', () => {
    const work = emptyWork()
    addChunk(work, { tokens: 1000, cachedTokens: 2000 })
    const dense = Math.max(15.463 + 0.03227 * 1000, 5.211 + 0.08802 * 1000)
    const attention = 0.28 + 3.3e-4 * 1000 + 2.23e-6 * 1000 * 2000 + (5.3e-6 * 1000 ** 2) / 2
    expect(stepMs(profileNamed('rtx4090-llama-3.1-8b').law, work)).toBeCloseTo(dense + 1.104 + attention, 9)
  })

  test('the simple law is the same form: t0 + a·n + a2·2n(k + n/2) + b·B + c·KV', () => {
    const work = emptyWork()
    addChunk(work, { tokens: 300, cachedTokens: 100 })
    addDecode(work, 700)
    addDecode(work, 900)
    const law = simpleLaw({ t0: 8.5, a: 0.075, a2: 1.5e-6, b: 0.05, c: 3.4e-4 })
    expect(stepMs(law, work)).toBeCloseTo(8.5 + 0.075 * 300 + 1.5e-6 * 2 * 300 * (100 + 150) + 0.05 * 2 + 3.4e-4 * 1600, 9)
    expect(stepMs(law, work)).toBe(stepMs(JSON.parse(JSON.stringify(law)), work))
  })

  test('cleared work is empty work', () => {
    const work = emptyWork()
    addChunk(work, { tokens: 5, cachedTokens: 1 })
    addDecode(work, 9)
    clearWork(work)
    expect(work).toEqual(emptyWork())
  })
})
