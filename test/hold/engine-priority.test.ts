import { expect, test } from 'vitest'
import { enginePriority } from '../../plugin/hold/engine-priority.ts'
import { sketchCall } from '../fakes/instances.ts'

const at = (arrivedUnixMs: number, promptTokens: number, predictedOutputTokens: number): number =>
  enginePriority({ call: sketchCall({ arrivedUnixMs }), promptTokens, predictedOutputTokens })

test('the engine gets an integer, smaller for the smaller KV-time', () => {
  // ln(40·120) = 8.4764, ln(200·120) = 10.0858
  expect(at(1_767_225_600_000, 100, 40)).toBe(8_476)
  expect(at(1_767_225_600_000, 20, 200)).toBe(10_086)
})

test('twenty seconds of arriving earlier are worth a factor of e in KV-time', () => {
  expect(at(1_767_225_600_000, 0, 100) - at(1_767_225_620_000, 0, 100)).toBe(-1_000)
  expect(at(1_767_225_600_000, 100, 160)).toBeLessThan(at(1_767_225_640_000, 100, 60))
})
