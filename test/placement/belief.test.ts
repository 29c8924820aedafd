import { expect, test } from 'vitest'
import { believedKvTokens, believedWaiting, kvCapacityTokens } from '../../plugin/placement/belief.ts'
import { type Sketch, sketchInstance } from '../fakes/instances.ts'

const waiting = (sketch: Sketch): number => believedWaiting(sketchInstance(sketch, 0))

test('streams without a first token wait at most; a scrape that saw fewer, with all sent since, knows better', () => {
  expect(waiting({ awaitingFirstToken: 5 })).toBe(5)
  expect(waiting({ awaitingFirstToken: 5, waiting: 0, waitingMost: 2 })).toBe(2)
  expect(waiting({ awaitingFirstToken: 1, waiting: 0, waitingMost: 7 })).toBe(1)
})

test('first tokens that came since the scrape count at once', () => {
  expect(waiting({ awaitingFirstToken: 0, waiting: 6, waitingMost: 6, foreignInFlight: 0 })).toBe(0)
})

test('of whole answers only the scrape tells: many in flight are not many waiting', () => {
  expect(waiting({ awaitingFirstToken: 40, awaitingWhole: 40 })).toBe(0)
  expect(waiting({ awaitingFirstToken: 40, awaitingWhole: 40, waiting: 0, waitingMost: 25 })).toBe(0)
  expect(waiting({ awaitingFirstToken: 40, awaitingWhole: 40, waiting: 12, waitingMost: 25 })).toBe(12)
})

test('foreign calls that wait are seen by the scrape alone', () => {
  expect(waiting({ waiting: 9, waitingMost: 9, foreignInFlight: 30 })).toBe(9)
})

test('KV in use is prompts and output by the ledger, and what the scrape saw beyond', () => {
  const tokens = (sketch: Sketch): number => believedKvTokens(sketchInstance({ promptTokens: 500, outputTokensDone: 60, ...sketch }, 0))
  expect([tokens({}), tokens({ kvTokensUnseen: 200 }), tokens({ kvTokensUnseen: -160 }), tokens({ kvTokensUnseen: -900 })]).toEqual([
    560, 760, 400, 0,
  ])
  expect(kvCapacityTokens(sketchInstance({ kvBlocks: 10 }, 0))).toBe(160)
  expect(kvCapacityTokens(sketchInstance({}, 0))).toBeNaN()
})
