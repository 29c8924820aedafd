import { describe, expect, test } from 'vitest'
import { paperSettings } from '../../plugin/learning/paper-constants.ts'
import { type Actor, playEpisode } from '../../plugin/learning/paper-episode.ts'
import { bestAction, doubleDqnLoss, type NetShape, netShape, PlainQ, qNet } from '../../plugin/learning/paper-net.ts'
import { Replay, type Transition } from '../../plugin/learning/paper-replay.ts'
import { actorOf, trainPaper } from '../../plugin/learning/paper-train.ts'
import { Graph, initialParameters } from '../../plugin/neural/graph.ts'
import { createServing, createTraining } from '../../plugin/neural/training.ts'
import { createRng } from '../../plugin/rng.ts'
import { drawPaper } from '../../plugin/simulation/scenario/mixes.ts'
import { generatedScenario, sameMachines } from '../../plugin/simulation/scenario/scenarios.ts'
import { checkGradient } from '../neural/gradient-check.ts'

const shape: NetShape = { widths: [9, 6, 6, 2], shared: 4 }

function parametersOf(seed: number): Float32Array {
  const g = new Graph()
  qNet(g, shape, 1)
  return initialParameters(g, createRng(seed))
}

describe('the net', () => {
  test('has the widths of the paper: 27-64-64-5 for four instances', () => {
    expect(netShape(4, paperSettings()).widths).toEqual([27, 64, 64, 5])
  })

  test('its plain forward gives what onnxruntime gives', async () => {
    const parameters = parametersOf(3)
    const serving = await createServing((g) => qNet(g, shape, 1), parameters)
    const rng = createRng(5)
    const state = Float32Array.from({ length: 9 }, () => rng.normal())
    ;(serving.feeds.state as Float32Array).set(state)
    await serving.run()
    const plain = new PlainQ(parameters, shape).values(state)
    for (const [a, value] of plain.entries()) expect(value).toBeCloseTo(serving.output[a]!, 5)
    await serving.close()
  })

  test('parameters of another net are refused with both sizes', () => {
    expect(() => new PlainQ(new Float32Array(7), shape)).toThrow('a net of 9-6-6-2 has 116 parameters, 7 were given')
  })

  test('the gradient of the loss is the finite difference', async () => {
    const { worst, largest } = await checkGradient((g) => doubleDqnLoss(g, shape, 6), {
      seed: 11,
      fill: (name, values, rng) => {
        for (let i = 0; i < values.length; i++) values[i] = name === 'action' ? Number(i % 2 === 0) : 0.3 * rng.normal()
      },
    })
    expect(largest).toBeGreaterThan(0.01)
    expect(worst).toBeLessThan(1e-6)
  })

  test('the target takes the next action from the learning net and its value from the other one', async () => {
    const [online, frozen] = [parametersOf(1), parametersOf(2)]
    const batch = 64
    const training = await createTraining({ loss: (g) => doubleDqnLoss(g, shape, batch), rng: createRng(1), from: online })
    const { state, next, action, reward, discount, target } = training.feeds as Record<string, Float32Array>
    const rng = createRng(9)
    for (const values of [state!, next!, reward!]) for (let i = 0; i < values.length; i++) values[i] = rng.normal()
    discount!.fill(0.9)
    discount![0] = 0
    target!.set(frozen)
    const [q, qFrozen] = [new PlainQ(online, shape), new PlainQ(frozen, shape)]
    let expected = 0
    let disagreed = 0
    for (let b = 0; b < batch; b++) {
      const taken = rng.int(2)
      action![2 * b + taken] = 1
      const after = next!.subarray(9 * b, 9 * b + 9)
      const chosen = bestAction(q.values(after))
      const others = qFrozen.values(after)
      if (bestAction(others) !== chosen) disagreed++
      const wanted = reward![b]! + discount![b]! * others[chosen]!
      const error = Math.abs(q.values(state!.subarray(9 * b, 9 * b + 9))[taken]! - wanted)
      expected += (error < 1 ? 0.5 * error ** 2 : error - 0.5) / batch
    }
    expect(disagreed).toBeGreaterThan(5)
    expect(await training.step(0)).toBeCloseTo(expected, 4)
    await training.close()
  })
})

describe('the replay', () => {
  const width = 3 + 6 * 2
  const transition = (i: number, change: Partial<Transition> = {}): Transition => ({
    state: Float32Array.from({ length: width }, (_, k) => 100 * i + k),
    action: i % 3,
    heuristic: -0.5,
    reward: i,
    ticks: 2,
    ends: false,
    ...change,
  })
  const feedsFor = (batch: number) => ({
    state: new Float32Array(batch * width),
    next: new Float32Array(batch * width),
    action: new Float32Array(batch * 3),
    reward: new Float32Array(batch),
    discount: new Float32Array(batch),
  })

  test('sums three decisions, discounts by ticks and stops where a workload ended', () => {
    const replay = new Replay({ capacity: 100, width })
    for (let i = 1; i <= 5; i++) replay.add(transition(i, { ends: i === 5 }))
    replay.add(transition(6))
    const feeds = feedsFor(200)
    replay.sample({ feeds }, { discount: 0.9, weight: 2, returnSteps: 3, shuffles: false, rng: createRng(1) })
    const returns = new Map<number, readonly [number, number]>()
    for (let b = 0; b < 200; b++) returns.set(feeds.state[b * width]! / 100, [feeds.reward[b]!, feeds.discount[b]!])
    const r = (i: number): number => i - 1
    expect(returns.get(1)![0]).toBeCloseTo(r(1) + 0.81 * r(2) + 0.81 ** 2 * r(3), 5)
    expect(returns.get(1)![1]).toBeCloseTo(0.81 ** 3, 6)
    expect(returns.get(4)![0]).toBeCloseTo(r(4) + 0.81 * r(5), 5)
    expect(returns.get(4)![1]).toBe(0)
    // What came last has no next state yet.
    expect(returns.has(6)).toBe(false)
  })

  test('a shuffled decision keeps each instance whole and its action with it', () => {
    const replay = new Replay({ capacity: 100, width })
    for (let i = 0; i < 8; i++) replay.add(transition(i, { action: i % 3 }))
    const feeds = feedsFor(300)
    replay.sample({ feeds }, { discount: 0.9, weight: 0, returnSteps: 1, shuffles: true, rng: createRng(2) })
    let swapped = 0
    for (let b = 0; b < 300; b++) {
      const row = feeds.state.subarray(b * width, (b + 1) * width)
      const i = row[0]! / 100
      const first = row[3]! - 100 * i
      expect([3, 9]).toContain(first)
      const order = first === 3 ? [0, 1] : [1, 0]
      if (first === 9) swapped++
      for (const [instance, place] of order.entries())
        for (let k = 0; k < 6; k++) expect(row[3 + 6 * place + k]).toBe(100 * i + 3 + 6 * instance + k)
      const taken = i % 3
      expect(feeds.action[b * 3 + (taken === 2 ? 2 : order[taken]!)]).toBe(1)
      expect(feeds.next[b * width]).toBe(100 * (i + 1))
    }
    expect(swapped).toBeGreaterThan(100)
  })
})

describe('training', () => {
  const scenario = generatedScenario({
    name: 'two v100-paper, overloaded',
    fleet: sameMachines('v100-paper', 2),
    mix: drawPaper,
    mixName: 'paper',
    callsPerS: 12,
    calls: 600,
  })
  const settings = paperSettings({ episodes: 5, batch: 256, trainEveryMs: 200, checkpointFrom: 1, checkpointEvery: 1 })
  const meanE2e = (act: Actor): number => {
    let sum = 0
    for (const seed of [11, 12, 13]) sum += playEpisode({ scenario, calls: scenario.calls({ seed }), settings, act }).meanE2eMs
    return sum / 3
  }

  test('five episodes of guided training beat random actions on workloads it never met', { timeout: 120_000 }, async () => {
    const net = await trainPaper({ arm: 'guided', scenario, seed: 1, settings })
    const dice = createRng(4)
    const random = meanE2e((_, mixing) => dice.int(mixing.length + 1))
    expect(meanE2e(actorOf(net.parameters, 2, settings))).toBeLessThan(0.97 * random)
  })

  test('the same seed gives the same net to the bit, another seed another one', { timeout: 120_000 }, async () => {
    const short = paperSettings({ episodes: 2, batch: 64, validations: 1, checkpointFrom: 0, checkpointEvery: 1 })
    const train = (seed: number) => trainPaper({ arm: 'aware', scenario, seed, settings: short })
    const [once, again, other] = [await train(1), await train(1), await train(2)]
    expect(again.parameters).toEqual(once.parameters)
    expect(other.parameters).not.toEqual(once.parameters)
  })

  test('an agent that always defers still ends its workload: nobody is deferred while nothing runs', () => {
    const calls = scenario.calls({ seed: 1 }).slice(0, 5)
    const score = playEpisode({ scenario, calls, settings, act: () => 2 })
    expect(score.calls).toBe(5)
    expect(score.lost).toBe(0)
  })

  test('every call is decided at a tick and completed once', () => {
    const dice = createRng(2)
    const decisions: Transition[] = []
    const calls = scenario.calls({ seed: 3 })
    const act: Actor = (_, mixing) => dice.int(mixing.length + 1)
    const score = playEpisode({ scenario, calls, settings, act, onTransition: (one) => decisions.push(one) })
    expect(decisions.filter(({ action }) => action < 2)).toHaveLength(calls.length)
    expect(decisions.filter(({ ends }) => ends)).toHaveLength(1)
    expect(decisions.every(({ ticks, heuristic }) => ticks >= 0 && heuristic <= 0)).toBe(true)
    expect(score.lost).toBe(0)
  })
})
