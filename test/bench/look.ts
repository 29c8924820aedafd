import { parseArgs } from 'node:util'
import { BASE_POLICY_FOLDER, readPolicyModel } from '../../plugin/learning/policy-folder.ts'
import { AT, CANDIDATE_COLUMNS } from '../../plugin/placement/features.ts'
import { createPlaceForward } from '../../plugin/placement/learned.ts'
import { PlaceFeatures } from '../../plugin/placement/learned-features.ts'
import { blockOf, type LearnedModel, PLACE_FEATURES, PLACE_WIDTH } from '../../plugin/placement/learned-model.ts'
import { createPolicy, createShapeOf } from '../../plugin/placement/policies.ts'
import type { Candidates, Policy } from '../../plugin/placement/policy.ts'
import { createRng } from '../../plugin/rng.ts'
import { Simulation } from '../../plugin/simulation/fleet/simulation.ts'
import { streamOf, type TwinCall } from '../../plugin/simulation/fleet/twin-call.ts'
import type { Scenario } from '../../plugin/simulation/scenario/scenarios.ts'
import type { BenchResult, Row } from './harness.ts'
import { DATA_DIR, loadCatalogue } from './placement/catalogue.ts'
import { estimate } from './placement/statistics.ts'

/** Calls before the decision that is looked at, so that the fleet is as full as it gets, and calls after it. */
const BEFORE = 300
const AFTER = 300
/** Futures that each decision is played into. */
const FUTURES = 24

/**
 * A look inside: ten decisions in which `learned` (without its hold) and least-request differ; the features that spoke for its choice, and whether it paid, by paired
 * roll-outs: the same past, then the same future arrivals once with either choice, over many futures.
 */
export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      scenario: { type: 'string', default: 'v100x4@20' },
      decisions: { type: 'string', default: '10' },
      seed: { type: 'string', default: '501' },
      model: { type: 'string', default: BASE_POLICY_FOLDER },
    },
  })
  const { named } = await loadCatalogue(DATA_DIR)
  const scenario = named.find((one) => one.name === values.scenario)
  if (!scenario) throw new Error(`no scenario ${values.scenario}`)
  const model = readPolicyModel(values.model)
  const seed = Number(values.seed)
  const past = scenario.calls({ seed }).slice(0, BEFORE + 200)
  const found = differences({ scenario, model, calls: past }).filter(({ index }) => index >= BEFORE)
  const step = Math.max(1, Math.floor(found.length / Number(values.decisions)))
  const looked = found.filter((_, i) => i % step === 0).slice(0, Number(values.decisions))
  return { rows: looked.map((one) => rowOf({ scenario, model, past, seed }, one)), bars: [] }
}

interface Difference {
  /** Place of the call in the stream. */
  readonly index: number
  readonly ours: string
  readonly theirs: string
  readonly why: string
}

interface Playing {
  readonly scenario: Scenario
  readonly model: LearnedModel
  readonly calls: readonly TwinCall[]
}

/** What an inserted hand does: sees each decision, and may take the other choice. */
type Hand = (seen: { readonly callId: number; readonly candidates: Candidates; readonly ours: number; readonly theirs: number }) => boolean

function differences(playing: Playing): Difference[] {
  const found: Difference[] = []
  const explain = createExplain(playing)
  play(playing, ({ callId, candidates, ours, theirs }) => {
    if (ours !== theirs) {
      const name = (i: number): string => candidates.instances[i]?.name ?? ''
      found.push({ index: callId - 1, ours: name(ours), theirs: name(theirs), why: explain(candidates, ours, theirs) })
    }
    return false
  })
  return found
}

/** Plays without holding, and gives every call's E2E by its place in the stream. */
function play({ scenario, model, calls }: Playing, hand: Hand): Float64Array {
  const shapes = new Map(scenario.fleet.map((one) => [one.name, one.profile]))
  const inner = createPolicy('learned', { model, profileOf: ({ name }) => shapes.get(name) })
  const e2eMs = new Float64Array(calls.length)
  const policy: Policy = {
    ...inner,
    distribute(candidates, call, out) {
      inner.distribute(candidates, call, out)
      const ours = indexOfLargest(out.probabilities, candidates.count)
      const theirs = leastInFlight(candidates, ours)
      if (!hand({ callId: call.callId, candidates, ours, theirs })) return
      out.probabilities.fill(0, 0, candidates.count)
      out.probabilities[theirs] = 1
    },
  }
  new Simulation({
    fleet: scenario.fleet,
    calls: streamOf(calls),
    policy: () => policy,
    policyName: 'learned',
    rng: createRng(1),
    onEnd: (end) => {
      e2eMs[end.index] = end.endedMs - end.arrivedMs
    },
  }).run()
  return e2eMs
}

function indexOfLargest(values: Float64Array, count: number): number {
  let at = 0
  for (let i = 1; i < count; i++) if ((values[i] as number) > (values[at] as number)) at = i
  return at
}

/** Least-request's choice; where ours is among its ties, ours. */
function leastInFlight({ rows, count }: Candidates, ours: number): number {
  const inFlight = (i: number): number => rows[i * CANDIDATE_COLUMNS.length + AT.inFlight] as number
  let at = ours
  for (let i = 0; i < count; i++) if (inFlight(i) < inFlight(at)) at = i
  return at
}

/** The four features that spoke most for our choice against the other, as parts of the cost. */
function createExplain({ scenario, model }: Playing): (candidates: Candidates, ours: number, theirs: number) => string {
  const shapes = new Map(scenario.fleet.map((one) => [one.name, one.profile]))
  const features = new PlaceFeatures({ shapeOf: createShapeOf({ profileOf: ({ name }) => shapes.get(name) }) })
  const linear = blockOf(model.parameters, 'place.linear')
  const forward = createPlaceForward(model.parameters)
  return (candidates, ours, theirs) => {
    features.fill(candidates)
    const x = (i: number, f: number): number => features.rows[i * PLACE_WIDTH + f] as number
    const parts = PLACE_FEATURES.map((name, f) => ({
      name,
      part: (linear[f] as number) * (x(theirs, f) - x(ours, f)),
      at: `${x(ours, f).toFixed(2)} : ${x(theirs, f).toFixed(2)}`,
    }))
    const whole = forward(features.rows, theirs * PLACE_WIDTH) - forward(features.rows, ours * PLACE_WIDTH)
    const top = parts.toSorted((a, b) => b.part - a.part).slice(0, 4)
    return `cost ${whole.toFixed(2)} lower: ${top.map(({ name, part, at }) => `${name} ${part.toFixed(2)} (${at})`).join(', ')}`
  }
}

interface Looking {
  readonly scenario: Scenario
  readonly model: LearnedModel
  readonly past: readonly TwinCall[]
  readonly seed: number
}

function rowOf({ scenario, model, past, seed }: Looking, { index, ours, theirs, why }: Difference): Row {
  const savedMs = Array.from({ length: FUTURES }, (_, k) => {
    const calls = splice(past.slice(0, index + 1), scenario.calls({ seed: 1_000 * seed + k }))
    const asOurs = play({ scenario, model, calls }, () => false)
    const asTheirs = play({ scenario, model, calls }, ({ callId }) => callId === index + 1)
    return sumFrom(asTheirs, index) - sumFrom(asOurs, index)
  })
  const { mean, low, high } = estimate(savedMs)
  const call = past[index] as TwinCall
  return {
    call: index + 1,
    promptTokens: call.promptTokens,
    predicted: Math.round(call.predictedTokens),
    learned: ours,
    'least-request': theirs,
    'saved s, all calls': `${(mean / 1_000).toFixed(2)} [${(low / 1_000).toFixed(2)}, ${(high / 1_000).toFixed(2)}]`,
    paid: low > 0 ? 'yes' : high < 0 ? 'no' : 'open',
    why,
  }
}

/** The past with another future: the other stream's calls, with its gaps, from the last call on. */
function splice(past: readonly TwinCall[], other: readonly TwinCall[]): TwinCall[] {
  const lastMs = past.at(-1)?.atMs ?? 0
  const later = other.slice(0, AFTER).map((one, i) => ({
    ...one,
    atMs: lastMs + one.atMs,
    call: { ...one.call, callId: past.length + i + 1 },
  }))
  return [...past, ...later]
}

function sumFrom(values: Float64Array, index: number): number {
  return values.subarray(index).reduce((sum, value) => sum + value, 0)
}
