import { parseArgs } from 'node:util'
import { BASE_POLICY_FOLDER, readPolicyModel } from '../../plugin/learning/policy-folder.ts'
import { OBJECTIVE, type Objective } from '../../plugin/learning/policy-objective.ts'
import { REFINING_PLAN } from '../../plugin/learning/policy-search.ts'
import { trainPolicy } from '../../plugin/learning/policy-train.ts'
import { blockOf, HOLD_FEATURES, type LearnedModel, ORDER_FEATURES, PLACE_FEATURES } from '../../plugin/placement/learned-model.ts'
import { type Arm, type Circumstances, playArm } from '../../plugin/simulation/scenario/arm.ts'
import { type BenchResult, progress, type Row } from './harness.ts'
import { DATA_DIR, loadCatalogue } from './placement/catalogue.ts'
import { pairedGain, pairedRatio } from './placement/statistics.ts'

const SCENARIOS = ['paper-v100x4@20', 'v100x4@20', 'v100x4@40', 'mixed@60', 'azure-chat', 'azure-code-over']
/** What a placement costs others and itself, by the step law. */
const IMPACT: readonly (typeof PLACE_FEATURES)[number][] = [
  'pending',
  'ownPrefill',
  'stall',
  'drag',
  'dragLeft',
  'blocked',
  'own',
  'everybody',
  'fleetKvByStall',
  'stallShared',
  'fleetKvByOwn',
  'everybodyOverLeast',
  'stallByLeft',
]

interface Variant {
  readonly name: string
  readonly arm: Arm
  readonly change?: (parameters: Float32Array) => void
  readonly circumstances?: Partial<Circumstances>
}

const LEARNED: Arm = { policy: 'learned' }
/** The shipped model with a part taken out, not trained again without it: what the part does in this model. */
const VARIANTS: readonly Variant[] = [
  { name: 'whole', arm: LEARNED },
  { name: 'no impact features', arm: LEARNED, change: (all) => silence(all, IMPACT) },
  {
    name: 'no length',
    arm: LEARNED,
    circumstances: { predictor: () => ({ predict: () => ({ tokens: Number.NaN }), learn: () => undefined }) },
  },
  { name: 'no hold', arm: { policy: 'learned', hold: 'off' } },
  { name: 'no order (first come, first served)', arm: LEARNED, change: inTurn },
  { name: 'no hidden units', arm: LEARNED, change: (all) => blockOf(all, 'place.output').fill(0) },
  { name: 'hold and order only (least-request places)', arm: { policy: 'least-request', hold: 'kv-time' } },
]

/** What each part of the learned policy is worth: gains in mean E2E over round robin with the part taken out, in %, and TTFT p99 against least-request's. */
export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seeds: { type: 'string', default: '5' },
      first: { type: 'string', default: '301' },
      scenarios: { type: 'string', default: SCENARIOS.join(',') },
      model: { type: 'string', default: BASE_POLICY_FOLDER },
      /** Generations of two short searches from the model, with the tail term and without; none by default. */
      train: { type: 'string', default: '0' },
      data: { type: 'string', default: DATA_DIR },
    },
  })
  const { named } = await loadCatalogue(values.data)
  const wanted = values.scenarios.split(',')
  const scenarios = named.filter((one) => wanted.includes(one.name))
  const model = readPolicyModel(values.model)
  const variants = [...VARIANTS, ...(await trainedVariants({ model, generations: Number(values.train), dataDir: values.data }))]
  const rows: Record<string, string | number>[] = variants.map(({ name }) => ({ variant: name }))
  for (const [s, scenario] of scenarios.entries()) {
    const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => Number(values.first) + i)
    const drawn = seeds.map((seed) => ({ scenario, seed, calls: scenario.calls({ seed }) }))
    const base = drawn.map((one) => playArm({ policy: 'round-robin' }, one).meanE2eMs)
    const tails = drawn.map((one) => playArm({ policy: 'least-request' }, one).p99TtftMs)
    for (const [v, variant] of variants.entries()) {
      const own = variantOf(model, variant)
      const ours = drawn.map((one) => playArm(variant.arm, { ...one, ...variant.circumstances, model: own }))
      const gain = pairedGain(
        ours.map((one) => one.meanE2eMs),
        base,
      )
      const tail = pairedRatio(
        ours.map((one) => one.p99TtftMs),
        tails,
      )
      const shown = [gain.mean, gain.low, gain.high].map((share) => (100 * share).toFixed(1))
      ;(rows[v] as Record<string, string>)[scenario.name] = `${shown[0]} [${shown[1]}, ${shown[2]}], × ${tail.mean.toFixed(2)}`
    }
    progress(s + 1, scenarios.length, scenario.name)
  }
  return { rows: rows as Row[], bars: [] }
}

/** The same short search from the model twice, once with no price on tails: what the tail term does to a search, all else equal. */
async function trainedVariants(given: {
  readonly model: LearnedModel
  readonly generations: number
  readonly dataDir: string
}): Promise<Variant[]> {
  const { model, generations, dataDir } = given
  if (generations === 0) return []
  const search = async (objective: Objective): Promise<Float32Array> => {
    const plan = { ...REFINING_PLAN, generations, linearGenerations: generations, priorHoldRatio: 0, validationTasks: 0 }
    const trained = await trainPolicy({ domain: { kind: 'broad', dataDir }, seed: 1, champion: model, workers: 1, plan, objective })
    return trained.model.parameters
  }
  const withTails = await search(OBJECTIVE)
  const without = await search({ ...OBJECTIVE, e2eP99Weight: 0, ttftP99Weight: 0 })
  return [
    { name: `searched ${generations} generations further`, arm: LEARNED, change: (all) => all.set(withTails) },
    { name: 'the same, no tail term', arm: LEARNED, change: (all) => all.set(without) },
  ]
}

function variantOf(model: LearnedModel, { change }: Variant): LearnedModel {
  const parameters = model.parameters.slice()
  change?.(parameters)
  return { ...model, parameters }
}

/** Takes the features out of the place head, linear and hidden, and their like out of the hold head. */
function silence(parameters: Float32Array, names: readonly (typeof PLACE_FEATURES)[number][]): void {
  const linear = blockOf(parameters, 'place.linear')
  const hidden = blockOf(parameters, 'place.hidden')
  const units = hidden.length / PLACE_FEATURES.length
  for (const name of names) {
    const at = PLACE_FEATURES.indexOf(name)
    linear[at] = 0
    hidden.fill(0, at * units, (at + 1) * units)
  }
  const conditions = blockOf(parameters, 'hold.conditions')
  const each = conditions.length / HOLD_FEATURES.length
  for (const name of ['pendingS', 'stallS'] as const) {
    const at = HOLD_FEATURES.indexOf(name)
    conditions.fill(0, at * each, (at + 1) * each)
  }
}

function inTurn(parameters: Float32Array): void {
  const order = blockOf(parameters, 'order.linear').fill(0)
  order[ORDER_FEATURES.indexOf('waitShort')] = -1
}
