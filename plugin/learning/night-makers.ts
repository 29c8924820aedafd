import { FEATURE_HASH } from '../placement/features.ts'
import type { LearnedModel } from '../placement/learned-model.ts'
import { LEARNED_FEATURE_HASH } from '../placement/learned-model.ts'
import { LENGTH_FEATURE_HASH } from '../prediction/length-model.ts'
import { decodeLengthModel } from '../prediction/model-file.ts'
import type { MachineSpec } from '../simulation/fleet/machine.ts'
import { calibrateFleet } from '../simulation/log-replay/calibrate.ts'
import { MODEL_FILE } from './model-folder.ts'
import type { Made, Night } from './night.ts'
import { judgeLength, type LengthVerdict, NIGHT_ROWS_LEAST, trainNightLength } from './night-length.ts'
import { type NightPolicy, traceOf, trainNightPolicy } from './night-policy.ts'
import { judgePolicy, type PolicyVerdict } from './night-verdict.ts'
import { POLICY_MODEL_FILE } from './policy-folder.ts'
import { encodePolicy } from './policy-net.ts'
import { type ModelFiles, registerModel, versionOf } from './registry.ts'
import { baseLength, basePolicy, encodeProfiles, loadLength, loadPolicy, PROFILES_FILE } from './serving-models.ts'

/** The parts of a night: each takes up what an earlier attempt kept, makes the rest, judges, and registers. */

/** The fleet with calibrated profiles, and its registered version where that was asked. */
export async function makeProfiles(
  night: Night,
  { registers }: { readonly registers: boolean },
): Promise<{ readonly fleet: readonly MachineSpec[]; readonly made?: Made }> {
  const { desk, gathered } = night
  desk.progress('profiles', 0)
  const kept = desk.kept<readonly MachineSpec[]>('fleet.json')
  const fleet = kept ?? calibrate(night)
  if (!kept) desk.keep('fleet.json', fleet)
  await desk.breathe()
  if (!registers) return { fleet }
  const own = new Map(fleet.map(({ name, profile }) => [name, profile]))
  const files: ModelFiles = new Map([[PROFILES_FILE, encodeProfiles(new Map([[gathered.pool, own]]))]])
  const words = `profiles of ${fleet.length} instances of pool ${gathered.pool}`
  const made = register(night, { kind: 'profile', files, featureHash: null, verdict: { passed: true, words, numbers: {} } })
  return { fleet, made }
}

function calibrate({ desk, gathered }: Night): readonly MachineSpec[] {
  const calibrated = calibrateFleet(gathered.fleet, gathered.training)
  for (const { spec, calls, e2eError } of calibrated) {
    const fit = calls === 0 ? 'served nothing: a guess' : `mean E2E in the twin ${signed(e2eError)} on ${calls} calls`
    desk.say(`profile of ${spec.name}: like ${spec.profile.label}; ${fit}`)
  }
  return calibrated.map(({ spec }) => spec)
}

const signed = (ratio: number): string => `${ratio >= 0 ? '+' : ''}${(100 * ratio).toFixed(1)} %`

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
    register(night, {
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

/** A policy challenger, searched on the twin of this fleet and judged on later calls. */
export async function makePolicy(night: Night, fleet: readonly MachineSpec[]): Promise<readonly Made[]> {
  const { desk, gathered, dataDir, clock, run, config, champion } = night
  desk.progress('policy', 0)
  const record = champion('policy')
  const start = record ? loadPolicy(dataDir, record) : basePolicy()
  const policy =
    keptPolicy(night) ??
    (await trainNightPolicy({ desk, clock, fleet, calls: gathered.training, champion: start, seed: night.seed, length: lengthOf() }))
  desk.keep('policy.json', { parameters: [...policy.model.parameters], version: policy.model.version, generations: policy.generations })
  desk.tell({ generations: policy.generations })
  desk.progress('evaluating', 0)
  const pool = night.pools.find(({ name }) => name === gathered.pool)
  const learned = pool?.learned ?? 'learned'
  const serving = record ? learned : (pool?.arm ?? 'least-request')
  const verdict: PolicyVerdict = await judgePolicy({
    fleet,
    calls: traceOf(gathered.heldOut),
    serving,
    learned,
    scrapeMs: pool?.scrapeMs ?? 250,
    champion: record || serving.startsWith('learned') ? start : undefined,
    challenger: policy.model,
    seed: night.seed,
    async told(ratio) {
      desk.progress('evaluating', ratio)
      await desk.breathe()
    },
  })
  desk.say(`${policy.model.version}, ${policy.generations} generations: ${verdict.words}`)
  const { passed, words, ...numbers } = verdict
  return [
    register(night, {
      kind: 'policy',
      version: policy.model.version,
      files: policy.files,
      featureHash: LEARNED_FEATURE_HASH,
      verdict: { passed, words, numbers: { serving, ...numbers } },
      parent: record?.version ?? 'base',
      facts: { generations: policy.generations, fleet: fleet.map(({ name, profile }) => ({ name, profile: profile.name })) },
    }),
  ]

  function lengthOf(): { readonly generations: number } | { readonly minutes: number } {
    const { generations, minutes } = run.plan
    return generations === undefined && minutes !== undefined ? { minutes } : { generations: generations ?? config.generations }
  }
}

function keptPolicy({ desk }: Night): Pick<NightPolicy, 'model' | 'files' | 'generations'> | undefined {
  const kept = desk.kept<{ readonly parameters: readonly number[]; readonly version: string; readonly generations: number }>('policy.json')
  if (!kept) return undefined
  const model: LearnedModel = { version: kept.version, featureHash: LEARNED_FEATURE_HASH, parameters: Float32Array.from(kept.parameters) }
  return { model, files: new Map([[POLICY_MODEL_FILE, encodePolicy(model.parameters)]]), generations: kept.generations }
}

interface Registering {
  readonly kind: Made['kind']
  readonly version?: string
  readonly files: ModelFiles
  readonly featureHash: string | null
  readonly verdict: { readonly passed: boolean; readonly words: string; readonly numbers: Readonly<Record<string, unknown>> }
  readonly parent?: string
  readonly facts?: Readonly<Record<string, unknown>>
}

/** Registers what was made as its kind's challenger, with card and verdict. */
function register(night: Night, { kind, files, featureHash, verdict, parent, facts, version = versionOf(kind, files) }: Registering): Made {
  const { desk, control, dataDir, gathered, seed } = night
  const { models } = control
  const { read, used, leftOut } = gathered.counts
  const known = models.byVersion(kind, version)
  const modelId = registerModel({
    dataDir,
    models,
    kind,
    version,
    files,
    featureHash,
    runId: desk.runId,
    ...(parent === undefined ? {} : { parent }),
    card: {
      kind,
      version,
      featureHash,
      rowsHash: FEATURE_HASH,
      command: night.command,
      seed,
      data: { pool: gathered.pool, splitUnixMs: gathered.splitUnixMs, read, used, leftOut },
      parent: parent ?? null,
      ...facts,
      verdict: verdict.words,
    },
  })
  models.challenge(modelId)
  models.addVerdict({ modelId, runId: desk.runId, passed: verdict.passed, words: verdict.words, numbers: JSON.stringify(verdict.numbers) })
  desk.say(
    `${kind} model ${version} ${known ? 'was registered before' : 'is registered'}: ${verdict.passed ? 'it may be promoted' : 'it may not be promoted'}`,
  )
  return { kind, version, modelId, passed: verdict.passed, words: verdict.words }
}
