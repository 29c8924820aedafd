import { FEATURE_HASH } from '../placement/features.ts'
import type { Made, Night } from './night.ts'
import { type ModelFiles, registerModel, versionOf } from './registry.ts'

interface Registering {
  readonly kind: Made['kind']
  readonly version?: string
  readonly files: ModelFiles
  readonly featureHash: string | null
  readonly verdict: { readonly passed: boolean; readonly words: string; readonly numbers: Readonly<Record<string, unknown>> }
  readonly parent?: string
  /** The profiles that a policy was trained and judged with. */
  readonly profiles?: Made | undefined
  readonly facts?: Readonly<Record<string, unknown>>
}

/** Registers what was made as its kind's challenger, with card and verdict. */
export function registerMade(
  night: Night,
  { kind, files, featureHash, verdict, parent, profiles, facts, version = versionOf(kind, files) }: Registering,
): Made {
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
    ...(profiles === undefined ? {} : { profileModelId: profiles.modelId }),
    card: {
      kind,
      version,
      featureHash,
      rowsHash: FEATURE_HASH,
      command: facts?.generations === undefined ? night.command : `${night.command} --generations ${facts.generations}`,
      seed,
      data: { pool: gathered.pool, splitUnixMs: gathered.splitUnixMs, read, used, leftOut },
      parent: parent ?? null,
      ...(profiles === undefined ? {} : { profiles: profiles.version }),
      ...facts,
      verdict: verdict.words,
    },
  })
  models.challenge(modelId)
  // A run that was taken up again has said so before.
  if (models.verdicts(modelId)[0]?.runId !== desk.runId)
    models.addVerdict({
      modelId,
      runId: desk.runId,
      passed: verdict.passed,
      words: verdict.words,
      numbers: JSON.stringify(verdict.numbers),
    })
  desk.say(
    `${kind} model ${version} ${known ? 'was registered before' : 'is registered'}: ${verdict.passed ? 'it may be promoted' : 'it may not be promoted'}`,
  )
  return { kind, version, modelId, passed: verdict.passed, words: verdict.words }
}
