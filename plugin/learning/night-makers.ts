import { type EngineShape, shapeOfSpeed } from '../impact/engine-shape.ts'
import type { ModelRecord } from '../log/control/models.ts'
import { readQueuedScrapes } from '../log/read/scrapes.ts'
import type { LearnedModel } from '../placement/learned-model.ts'
import { LEARNED_FEATURE_HASH } from '../placement/learned-model.ts'
import { suggestBlocks } from '../placement/switchback.ts'
import { LENGTH_FEATURE_HASH } from '../prediction/length-model.ts'
import { decodeLengthModel } from '../prediction/model-file.ts'
import type { MachineSpec } from '../simulation/fleet/machine.ts'
import { evaluate } from './evaluate.ts'
import { figureOf } from './figure.ts'
import type { BlockPlan } from './foretold-blocks.ts'
import { MODEL_FILE } from './model-folder.ts'
import type { Made, Night } from './night.ts'
import { calibrateApart } from './night-calibrate.ts'
import type { PoolCalls } from './night-gather.ts'
import { judgeLength, type LengthVerdict, NIGHT_ROWS_LEAST, trainNightLength } from './night-length.ts'
import { type NightPolicy, trainNightPolicy } from './night-policy.ts'
import { registerMade } from './night-register.ts'
import { percent } from './percent.ts'
import { POLICY_MODEL_FILE } from './policy-folder.ts'
import { encodePolicy } from './policy-net.ts'
import { objectiveOf } from './policy-objective.ts'
import { type CalibratedProfile, calibratedFleet } from './profiles.ts'
import type { ModelFiles } from './registry.ts'
import { secondOpinion } from './second-opinion.ts'
import {
  baseLength,
  basePolicy,
  encodeProfiles,
  loadLength,
  loadPolicy,
  loadProfiles,
  type PoolProfiles,
  PROFILES_FILE,
} from './serving-models.ts'

/** The parts of a night: each takes up what an earlier attempt kept, makes the rest, judges, and registers. */

/** A pool's fleet as the twin takes it, and what a call takes between router and instance and back, mean, ms. */
export interface CalibratedFleet {
  readonly pool: string
  readonly fleet: readonly MachineSpec[]
  readonly overheadMs: number
}

/** The fleets of all pools that were gathered, the trained one's first, what they were made from, and the registered version where one was made. */
export interface MadeProfiles {
  readonly fleets: readonly CalibratedFleet[]
  readonly fits: readonly PoolFits[]
  readonly made?: Made
}

/** Details of a fit, beside the profiles: states, errors, coefficients with their errors. */
const FITS_FILE = 'fits.json'

/** What was found of one pool. */
export interface PoolFits {
  readonly pool: string
  readonly found: readonly CalibratedProfile[]
}

/** The pools' fleets with calibrated profiles, and their registered version where that was asked and there is anything new. */
export async function makeProfiles(night: Night, { registers }: { readonly registers: boolean }): Promise<MadeProfiles> {
  const { desk, gathered } = night
  desk.progress('profiles', 0)
  const kept = desk.kept<readonly PoolFits[]>('profiles.json')
  const fits: PoolFits[] = kept ? [...kept] : []
  const pools = [gathered, ...gathered.others]
  if (!kept) {
    for (const calls of pools) {
      fits.push({ pool: calls.pool, found: await calibrate(night, calls) })
      await desk.breathe()
    }
    desk.keep('profiles.json', fits)
  }
  const fleets = fits.map(({ pool, found }, i): CalibratedFleet => {
    const overheadMs = found.reduce((sum, one) => sum + one.overheadMs, 0) / Math.max(1, found.length)
    return { pool, overheadMs, fleet: calibratedFleet(found, pools[i]?.fleet ?? []) }
  })
  const made = registers ? registerProfiles(night, fits) : undefined
  if (registers && !made) desk.say('no profile could be fitted: the prior ones stay')
  return { fleets, fits, ...(made ? { made } : {}) }
}

/** One version for all pools: those that this night fitted nothing of keep what serves them. None where nothing was fitted. */
function registerProfiles(night: Night, fits: readonly PoolFits[]): Made | undefined {
  if (fits.every(({ found }) => found.every(({ state }) => state === 'prior'))) return undefined
  const profiles = new Map(knownProfiles(night))
  for (const { pool, found } of fits) {
    const own = found.filter(({ state }) => state !== 'prior').map(({ instance, profile }) => [instance, profile] as const)
    if (own.length > 0) profiles.set(pool, new Map([...(profiles.get(pool) ?? []), ...own]))
  }
  const files: ModelFiles = new Map([
    [PROFILES_FILE, encodeProfiles(profiles)],
    [FITS_FILE, new TextEncoder().encode(`${JSON.stringify(fits, null, 1)}\n`)],
  ])
  const words = fits.map(({ pool, found }) => {
    const fitted = found.filter(({ state }) => state !== 'prior')
    const errors = fitted.flatMap(({ heldOut }) => (heldOut ? [Math.abs(heldOut.e2e)] : []))
    const off =
      errors.length === 0 ? '' : `; the twin's mean E2E is off by at most ${percent(Math.max(...errors))} on calls they were not fitted on`
    return `profiles of ${fitted.length} of ${found.length} instances of pool ${pool}${off}`
  })
  // What the admin's Fleet page shows of each fit.
  const [own, ...others] = fits.map(({ pool, found }) => ({
    pool,
    instances: found.map(({ instance, state, heldOut, calls, coefficients, limits }) => ({
      instance,
      state,
      heldOut,
      calls,
      coefficients,
      limits,
    })),
  }))
  const verdict = { passed: true, words: words.join('; '), numbers: { ...own, others } }
  return registerMade(night, { kind: 'profile', files, featureHash: null, verdict })
}

/** An instance that is not what it was is fitted alone, on the calls since; until there are enough of them it is taken as much slower as it was noticed to be. */
async function calibrate(
  { desk, reader, control, gathered }: Night,
  { pool, fleet, training }: PoolCalls,
): Promise<readonly CalibratedProfile[]> {
  const { splitUnixMs } = gathered
  // Of the time of the calls that are fitted to: an engine may have been set up otherwise before.
  const range = { pool, fromUnixMs: training[0]?.arrivedUnixMs ?? splitUnixMs, toUnixMs: splitUnixMs }
  const scrapes = reader.read((query) => readQueuedScrapes(query, range))
  desk.say(`${scrapes.length} scrapes of pool ${pool} with calls that wait tell the engines' limits`)
  const changes = new Map(control.instanceChanges().flatMap((one) => (one.pool === pool ? [[one.instance, one] as const] : [])))
  const task = {
    instances: fleet.map((one) => {
      const change = changes.get(one.name)
      return change ? { ...one, speed: one.speed / change.factor, type: `changed ${one.name}` } : one
    }),
    calls: training.filter(({ instance, arrivedUnixMs }) => arrivedUnixMs >= (changes.get(instance ?? '')?.sinceUnixMs ?? 0)),
    scrapes,
  }
  const found = await calibrateApart(task, desk)
  for (const { instance, words } of found) desk.say(`profile of ${instance}: ${words}`)
  return found
}

/** A length challenger; none where too few answers can be read. */
export async function makeLength(night: Night): Promise<readonly Made[]> {
  const { desk, gathered, dataDir, rng, champion } = night
  desk.progress('length', 0)
  const { lengths, heldOutLengths, lengthsUnreadable } = gathered
  if (lengthsUnreadable > 0)
    desk.say(`${lengthsUnreadable} answers hold nothing a length model reads (text features off, or of another feature list)`)
  if (lengths.length < NIGHT_ROWS_LEAST) {
    desk.say(`${lengths.length} answers are too few for a length model (${NIGHT_ROWS_LEAST} at least): the champion stays`)
    return []
  }
  const record = champion('length')
  const serving = record ? loadLength(dataDir, record) : baseLength()
  const kept = desk.kept<{ readonly text: string }>('length.json')
  const trained = kept ? undefined : await trainNightLength(lengths, { champion: serving, rng: rng.stream('length') })
  const text = kept?.text ?? new TextDecoder().decode(trained?.files.get(MODEL_FILE))
  if (!kept) desk.keep('length.json', { text })
  await desk.breathe()
  const challenger = decodeLengthModel(text)
  const verdict: LengthVerdict = judgeLength(heldOutLengths, { champion: serving, challenger, rng: rng.stream('judge length') })
  desk.say(`${challenger.version}, from ${lengths.length} answers: ${verdict.words}`)
  const files: ModelFiles = new Map([[MODEL_FILE, new TextEncoder().encode(text)]])
  const { passed, words, ...numbers } = verdict
  return [
    registerMade(night, {
      kind: 'length',
      version: challenger.version,
      files,
      featureHash: LENGTH_FEATURE_HASH,
      verdict: { passed, words, numbers },
      parent: record?.version ?? 'base',
      facts: { rows: lengths.length, censored: lengths.filter((one) => one.censored).length },
    }),
  ]
}

/** Held-out calls of each other pool that are played. */
const OTHER_CALLS_MAX = 10_000

/** A policy challenger, searched on the twin of this fleet and judged on later calls. */
export async function makePolicy(night: Night, { fleets, fits, made }: MadeProfiles): Promise<readonly Made[]> {
  const { fleet, overheadMs } = fleets[0] as CalibratedFleet
  const { desk, gathered, dataDir, clock, run, config, champion } = night
  desk.progress('policy', 0)
  const record = champion('policy')
  const start = record ? loadPolicy(dataDir, record) : basePolicy()
  const objective = objectiveOf(config.objective)
  if (objective.kind === 'slo')
    desk.say(
      `the policy is searched for calls in time: first token within ${objective.ttftLimitMs} ms, ${objective.perTokenLimitMs} ms for each token`,
    )
  const policy =
    keptPolicy(night) ??
    (await trainNightPolicy({
      desk,
      clock,
      fleet,
      calls: gathered.training,
      champion: start,
      seed: night.seed,
      objective,
      length: lengthOf(),
    }))
  desk.keep('policy.json', { parameters: [...policy.model.parameters], version: policy.model.version, generations: policy.generations })
  desk.tell({ generations: policy.generations })
  desk.progress('evaluating', 0)
  const contendersOf = createContenders(night, { record, start, model: policy.model })
  const verdict = await evaluate({
    fleet,
    calls: gathered.heldOut,
    ...contendersOf(fleets[0] as CalibratedFleet),
    networkMs: overheadMs / 2,
    seed: night.seed,
    figure: figureOf(config.objective),
    canary: blockPlanOf(night),
    others: gathered.others.map(({ pool, heldOut }, i) => {
      const other = fleets[i + 1] as CalibratedFleet
      return { pool, fleet: other.fleet, calls: heldOut.slice(0, OTHER_CALLS_MAX), networkMs: other.overheadMs / 2, ...contendersOf(other) }
    }),
    async told(ratio) {
      desk.progress('evaluating', ratio)
      await desk.breathe()
    },
  })
  const opinion = secondOpinion(gathered.choices, { model: policy.model, fleet, rng: night.rng.stream('second opinion') })
  const said = [verdict.words, opinion.words, ...(verdict.canary ? [verdict.canary.words] : [])].join('; ')
  desk.say(`${policy.model.version}, ${policy.generations} generations: ${said}`)
  const { passed, words: _, ...numbers } = verdict
  // It goes with the profiles that it was trained and judged with.
  const profiles = made ?? registerProfiles(night, fits)
  return [
    ...(profiles && !made ? [profiles] : []),
    registerMade(night, {
      kind: 'policy',
      version: policy.model.version,
      files: policy.files,
      featureHash: LEARNED_FEATURE_HASH,
      verdict: { passed, words: said, numbers: { ...numbers, secondOpinion: opinion } },
      parent: record?.version ?? 'base',
      profiles,
      facts: { generations: policy.generations, objective, fleet: fleet.map(({ name, profile }) => ({ name, profile: profile.name })) },
    }),
  ]

  function lengthOf(): { readonly generations: number } | { readonly minutes: number } {
    const { generations, minutes } = run.plan
    return generations === undefined && minutes !== undefined ? { minutes } : { generations: generations ?? config.generations }
  }
}

interface Compared {
  readonly record: ModelRecord | undefined
  /** What the search began with: the champion, or what ships. */
  readonly start: LearnedModel
  readonly model: LearnedModel
}

/** By pool: what serves, with the profiles that serve, and the challenger, with those of the night. */
function createContenders(night: Night, { record, start, model }: Compared) {
  const known = knownProfiles(night)
  return ({ pool: name, fleet }: CalibratedFleet) => {
    const pool = night.pools.find((one) => one.name === name)
    const learned = pool?.learned ?? 'learned'
    const serving = record ? learned : (pool?.arm ?? 'least-request')
    const speeds = new Map(fleet.map((one) => [one.name, one.speed ?? 1]))
    const believes = (instance: string): EngineShape => known.get(name)?.get(instance) ?? shapeOfSpeed(speeds.get(instance) ?? 1)
    return {
      serving: { arm: serving, believes, ...(serving.startsWith('learned') ? { model: start, name: record?.version ?? serving } : {}) },
      challenger: { arm: learned, model },
      scrapeMs: pool?.scrapeMs ?? 250,
    }
  }
}

/** The profiles that serve now. */
function knownProfiles({ champion, dataDir }: Night): PoolProfiles {
  const record = champion('profile')
  return record ? loadProfiles(dataDir, record) : new Map()
}

/** A canary as it would be begun after this night. */
function blockPlanOf({ config: { canary }, gathered }: Night): BlockPlan {
  const e2eMs = gathered.heldOut.map((call) => call.e2eMs).sort((a, b) => a - b)
  const suggested = suggestBlocks({ e2eMsP90: e2eMs[Math.floor(0.9 * e2eMs.length)] ?? 0 })
  return { shareRatio: canary.share, blockMs: canary.blockMs || suggested.blockMs, washoutMs: canary.washoutMs || suggested.washoutMs }
}

function keptPolicy({ desk }: Night): Pick<NightPolicy, 'model' | 'files' | 'generations'> | undefined {
  const kept = desk.kept<{ readonly parameters: readonly number[]; readonly version: string; readonly generations: number }>('policy.json')
  if (!kept) return undefined
  const model: LearnedModel = { version: kept.version, featureHash: LEARNED_FEATURE_HASH, parameters: Float32Array.from(kept.parameters) }
  return { model, files: new Map([[POLICY_MODEL_FILE, encodePolicy(model.parameters)]]), generations: kept.generations }
}
