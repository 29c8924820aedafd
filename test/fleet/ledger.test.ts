import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Dispatch, Ledger } from '../../plugin/fleet/ledger.ts'

interface Shadow {
  readonly dispatch: Dispatch
  readonly prompt: number
  readonly uncached: number
  readonly predicted: number | undefined
  produced: number
  first: boolean
}

const step = fc.oneof(
  fc.record({
    kind: fc.constant('dispatch' as const),
    prompt: fc.double({ min: 0, max: 1e5, noNaN: true }),
    cached: fc.double({ min: 0, max: 1, noNaN: true }),
    predicted: fc.option(fc.double({ min: 0, max: 4e3, noNaN: true }), { nil: undefined }),
  }),
  fc.record({ kind: fc.constant('first' as const), pick: fc.nat() }),
  fc.record({ kind: fc.constant('progress' as const), pick: fc.nat(), tokens: fc.nat(5_000) }),
  fc.record({ kind: fc.constant('release' as const), pick: fc.nat() }),
)

test('I1, I12: after any interleaving the sums are those of the calls in flight, and all are 0 after a drain', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const ledger = new Ledger()
      const open: Shadow[] = []
      let ended = 0
      for (const [i, s] of steps.entries()) {
        if (s.kind === 'dispatch') {
          const uncached = s.prompt * (1 - s.cached)
          const dispatch = ledger.dispatch(
            {
              callId: i,
              stream: i % 3 > 0,
              promptTokens: s.prompt,
              uncachedPromptTokens: uncached,
              ...(s.predicted === undefined ? {} : { predictedOutputTokens: s.predicted }),
            },
            i,
          )
          open.push({
            dispatch,
            prompt: Math.ceil(s.prompt),
            uncached: Math.ceil(uncached),
            predicted: s.predicted,
            produced: 0,
            first: false,
          })
        } else if (open.length > 0) {
          const one = open[s.pick % open.length] as Shadow
          if (s.kind === 'release') {
            ledger.release(one.dispatch)
            open.splice(open.indexOf(one), 1)
            ended++
          } else {
            one.first = true
            if (s.kind === 'first') ledger.firstToken(one.dispatch, i)
            else {
              ledger.progress(one.dispatch, s.tokens, i)
              one.produced = Math.max(one.produced, s.tokens)
            }
          }
        }
        const sum = (of: (one: Shadow) => number): number => open.reduce((total, one) => total + of(one), 0)
        expect(ledger.placed).toBe(ended + ledger.inFlight)
        expect(ledger.ended).toBe(ended)
        expect(ledger.inFlight).toBe(open.length)
        expect(ledger.promptTokens).toBe(sum((one) => one.prompt))
        expect(ledger.prefillTokensPending).toBe(sum((one) => (one.first ? 0 : one.uncached)))
        expect(ledger.outputTokensDone).toBe(sum((one) => one.produced))
        expect(ledger.outputTokensLeft).toBe(
          sum((one) => (one.predicted === undefined ? 0 : Math.max(0, Math.ceil(one.predicted) - one.produced))),
        )
        expect(ledger.awaitingFirstToken).toBe(sum((one) => (one.first ? 0 : 1)))
        expect(ledger.awaitingWhole).toBe(sum((one) => (one.first || one.dispatch.stream ? 0 : 1)))
        expect([...ledger.open()]).toEqual(open.map((one) => one.dispatch))
        expect(ledger.unpredicted).toBe(sum((one) => (one.predicted === undefined ? 1 : 0)))
      }
      for (const one of open) ledger.release(one.dispatch)
      expect([
        ledger.inFlight,
        ledger.promptTokens,
        ledger.prefillTokensPending,
        ledger.outputTokensDone,
        ledger.outputTokensLeft,
        ledger.unpredicted,
      ]).toEqual([0, 0, 0, 0, 0, 0])
    }),
    { numRuns: 200 },
  )
})

test('I2: a second release throws and changes nothing', () => {
  const ledger = new Ledger()
  const kept = ledger.dispatch({ callId: 1, stream: true, promptTokens: 10 }, 0)
  const gone = ledger.dispatch({ callId: 2, stream: true, promptTokens: 20 }, 0)
  ledger.release(gone)
  expect(() => ledger.release(gone)).toThrow('call 2 is not in this ledger: it was released before')
  expect([ledger.inFlight, ledger.promptTokens, kept.open]).toEqual([1, 10, true])
})

test("a release from another instance's ledger throws", () => {
  const dispatch = new Ledger().dispatch({ callId: 7, stream: true, promptTokens: 1 }, 0)
  expect(() => new Ledger().release(dispatch)).toThrow("another instance's")
})

test('a chunk that comes after the end changes nothing', () => {
  const ledger = new Ledger()
  const dispatch = ledger.dispatch({ callId: 1, stream: true, promptTokens: 10, predictedOutputTokens: 5 }, 0)
  ledger.release(dispatch)
  ledger.progress(dispatch, 3, 1)
  ledger.firstToken(dispatch, 1)
  expect([ledger.prefillTokensPending, ledger.outputTokensDone, ledger.outputTokensLeft, ledger.lastSignMs]).toEqual([
    0,
    0,
    0,
    Number.NEGATIVE_INFINITY,
  ])
})

test('a token count that is no number never poisons the sums', () => {
  const ledger = new Ledger()
  expect(() => ledger.dispatch({ callId: 1, stream: true, promptTokens: Number.NaN }, 0)).toThrow('promptTokens')
  expect(() => ledger.dispatch({ callId: 1, stream: true, promptTokens: -1 }, 0)).toThrow('promptTokens')
  const dispatch = ledger.dispatch({ callId: 1, stream: true, promptTokens: 1 }, 0)
  ledger.progress(dispatch, Number.NaN, 1)
  ledger.progress(dispatch, 4, 1)
  ledger.progress(dispatch, 2, 1)
  expect(ledger.outputTokensDone).toBe(4)
})

test('an outlook is asked at ever larger steps, the sums stay exact, and a word that is no number changes nothing', () => {
  const asked: number[] = []
  const ledger = new Ledger()
  const outlook = {
    remaining(outputTokens: number): number {
      asked.push(outputTokens)
      return outputTokens > 500 ? Number.NaN : 50.5
    },
  }
  const dispatch = ledger.dispatch({ callId: 1, stream: true, promptTokens: 10, predictedOutputTokens: 40, outlook }, 0)
  expect(ledger.outputTokensLeft).toBe(40)
  for (let produced = 1; produced <= 500; produced++) {
    ledger.progress(dispatch, produced, produced)
    expect(ledger.outputTokensLeft).toBe(Math.max(0, dispatch.predictedOutputTokens - produced))
  }
  expect(asked.length).toBeLessThan(30)
  expect(asked[0]).toBe(1)
  expect(dispatch.predictedOutputTokens).toBeGreaterThan(400)
  const before = dispatch.predictedOutputTokens
  ledger.progress(dispatch, 700, 700)
  expect(dispatch.predictedOutputTokens).toBe(before)
  expect(ledger.outputTokensLeft).toBe(0)
  ledger.release(dispatch)
  expect([ledger.outputTokensLeft, ledger.outputTokensDone, ledger.inFlight]).toEqual([0, 0, 0])
})
