import { expect, test } from 'vitest'
import { caseOf, type LengthCase } from '../../plugin/learning/length-rows.ts'
import { createTwinLengths, inTwin, NO_LENGTHS, realCalls } from '../../plugin/learning/length-twin.ts'
import { createRunningLength } from '../../plugin/prediction/running-length.ts'
import { createRng } from '../../plugin/rng.ts'
import type { TwinPredictor } from '../../plugin/simulation/fleet/router-parts.ts'
import { playArm } from '../../plugin/simulation/scenario/arm.ts'
import { sameMachines } from '../../plugin/simulation/scenario/scenarios.ts'
import { baseModel, readText } from '../prediction/sketches.ts'

/** Long stories and short translations, half and half. */
const CASES: readonly LengthCase[] = Array.from({ length: 40 }, (_, i) => {
  const prompt = i % 2 === 0 ? `Write a long story about the number ${i}.` : `Translate this sentence to German: I have ${i} apples.`
  const outputTokens = i % 2 === 0 ? 600 + i : 8
  return caseOf({ set: 's', task: i % 2 === 0 ? 'story' : 'translate', model: 'm', prompt, outputTokens, censored: false }, readText, i)
})

const scenario = { name: 'real', label: '', fleet: sameMachines('v100-paper', 2), callsPerS: 3, calls: () => [] }

function play(create: () => TwinPredictor) {
  const { calls, of } = realCalls(CASES, { calls: 300, callsPerS: scenario.callsPerS, rng: createRng(5) })
  const predictors: TwinPredictor[] = []
  const said: { readonly set: string; readonly tokens: number }[] = []
  const score = playArm(
    { policy: 'impact' },
    {
      scenario,
      calls,
      seed: 5,
      predictor: () => {
        const made = create()
        predictors.push(made)
        return {
          predict(call) {
            const prediction = made.predict(call)
            said.push({ set: of[call.callId]!.of.task, tokens: prediction.tokens })
            return prediction
          },
          learn: (call, outputTokens) => made.learn(call, outputTokens),
        }
      },
    },
  )
  return { score, said }
}

test('the router’s predictor runs in the twin, tells stories from translations, and gives the same run each time (I6)', () => {
  const [a, b] = [play(() => createTwinLengths(() => baseModel)), play(() => createTwinLengths(() => baseModel))]
  expect(a.score).toEqual(b.score)
  expect(a.score.lost).toBe(0)
  const late = a.said.slice(150)
  const mean = (task: string): number => {
    const own = late.filter((one) => one.set === task)
    return own.reduce((sum, one) => sum + one.tokens, 0) / own.length
  }
  expect(mean('translate')).toBeLessThan(20)
  // Its history has learned how long this application's stories are.
  expect(mean('story')).toBeGreaterThan(400)
  expect(mean('story')).toBeLessThan(900)
})

test('without a predictor nothing is known; the running mean knows an application after five answers', () => {
  expect(play(() => NO_LENGTHS).said.every((one) => Number.isNaN(one.tokens))).toBe(true)
  const running = createRunningLength()
  const { said } = play(() => inTwin(() => running))
  expect(Number.isNaN(said[0]!.tokens)).toBe(true)
  expect(said.at(-1)!.tokens).toBeGreaterThan(0)
})
