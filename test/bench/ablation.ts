import { parseArgs } from 'node:util'
import { BASE_POLICY_FOLDER, readPolicyModel } from '../../plugin/learning/policy-folder.ts'
import { blockOf, HOLD_FEATURES, type LearnedModel, ORDER_FEATURES, PLACE_FEATURES } from '../../plugin/placement/learned-model.ts'
import { type Arm, type Circumstances, playArm } from '../../plugin/simulation/scenario/arm.ts'
import { type BenchResult, progress, type Row } from './harness.ts'
import { DATA_DIR, loadCatalogue } from './placement/catalogue.ts'
import { pairedGain } from './placement/statistics.ts'

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

/** What each part of the learned policy is worth: gains in mean E2E over round robin with the part taken out. */
export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seeds: { type: 'string', default: '5' },
      first: { type: 'string', default: '301' },
      scenarios: { type: 'string', default: SCENARIOS.join(',') },
      model: { type: 'string', default: BASE_POLICY_FOLDER },
    },
  })
  const { named } = await loadCatalogue(DATA_DIR)
  const wanted = values.scenarios.split(',')
  const scenarios = named.filter((one) => wanted.includes(one.name))
  const model = readPolicyModel(values.model)
  const rows: Record<string, string | number>[] = VARIANTS.map(({ name }) => ({ variant: name }))
  for (const [s, scenario] of scenarios.entries()) {
    const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => Number(values.first) + i)
    const drawn = seeds.map((seed) => ({ scenario, seed, calls: scenario.calls({ seed }) }))
    const base = drawn.map((one) => playArm({ policy: 'round-robin' }, one).meanE2eMs)
    for (const [v, variant] of VARIANTS.entries()) {
      const own = variantOf(model, variant)
      const ours = drawn.map((one) => playArm(variant.arm, { ...one, ...variant.circumstances, model: own }).meanE2eMs)
      const { mean, low, high } = pairedGain(ours, base)
      const shown = [mean, low, high].map((share) => (100 * share).toFixed(1))
      ;(rows[v] as Record<string, string>)[scenario.name] = `${shown[0]} [${shown[1]}, ${shown[2]}]`
    }
    progress(s + 1, scenarios.length, scenario.name)
  }
  return { rows: rows as Row[], bars: [] }
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
