import { join } from 'node:path'
import type { Clock } from './clock.ts'
import type { Config } from './config.ts'
import type { InstanceView } from './fleet/instance.ts'
import type { EngineShape } from './impact/engine-shape.ts'
import { BASE_FOLDER } from './learning/model-folder.ts'
import { loadLength, loadPolicy, loadProfiles, type PoolProfiles } from './learning/serving-models.ts'
import type { ModelKind, ModelRecord, ServeSubject } from './log/control/models.ts'
import { SET_ASIDE, type SetAside, type SetAsideSubject, TAKE_UP } from './log/control/set-aside.ts'
import type { Trial, TrialSubject } from './log/control/trials.ts'
import { type Control, openControl } from './log/control.ts'
import { databasePath } from './log/migrate.ts'
import type { Intent } from './log/rows.ts'
import { warmGuards } from './main-guards.ts'
import type { LiveLengths } from './main-lengths.ts'
import { createPolicy, LEARNED, SELECTABLE_POLICY_NAMES } from './placement/policies.ts'
import type { ArmModels, ArmPolicy } from './router-arms.ts'
import type { InstanceChanges } from './router-changes.ts'
import { createRuleOf } from './router-hold.ts'
import type { LiveRouter } from './router-place.ts'
import { learnedArm, type RouterPool } from './router-pools.ts'
import type { RouterTrial } from './router-trial.ts'

/** Kinds of intent that change what serves or what is tried. */
export const SERVING_INTENTS: readonly string[] = ['serve', 'try', 'end trial', SET_ASIDE, TAKE_UP]

/** What serves in the router process by the registry, and what is tried. */
export interface Serving {
  /** Learned profiles of instances, for whoever looks ahead; undefined where none are known. */
  profileOf(pool: string, instance: InstanceView): EngineShape | undefined
  /** What places for a pool while the learned policy is set aside; undefined while it is not, or where the pool has none. */
  insteadOf(pool: Pick<RouterPool, 'policy' | 'fallbackPolicy'>): string | undefined
  /** Loads champions and a running trial. Whatever does not fit is said and counted, and what ships serves in its place. */
  restore(router: LiveRouter): Promise<void>
  /** Obeys one of SERVING_INTENTS; the answer in words. Throws what is wrong: nothing has changed then. */
  obey(router: LiveRouter, intent: Intent): Promise<string>
  close(): void
}

export interface ServingParts {
  readonly config: Config
  readonly lengths: LiveLengths
  /** Told of profiles that serve. */
  readonly changes: Pick<InstanceChanges, 'learned'>
  readonly clock: Clock
  readonly count: (what: string) => void
  readonly warn: (text: string) => void
}

const KINDS: readonly ModelKind[] = ['profile', 'length', 'policy']

/** Opens the registry for the router process, which only reads it: a locked database delays no call. */
export function openServing(parts: ServingParts): Serving {
  const { config, lengths, clock, count, warn } = parts
  const { dataDir } = config
  const control = openControl({ path: databasePath(dataDir, 'control'), clock })
  let profiles: PoolProfiles = new Map()
  let policyOf: ArmModels['policyOf']
  let aside: Pick<SetAside, 'rule'> | undefined
  const deciding = (): ArmModels => (aside ? { policyOf: ruleInstead(aside.rule) } : policyOf ? { policyOf } : {})

  const put = async (router: LiveRouter, kind: ModelKind, record: ModelRecord | undefined): Promise<void> => {
    if (kind === 'length') {
      if (record) loadLength(dataDir, record)
      await lengths.swap(record ? join(dataDir, record.folder) : shippedLength(config))
      return
    }
    if (kind === 'profile') {
      profiles = record ? loadProfiles(dataDir, record) : new Map()
      if (record) for (const [pool, own] of profiles) parts.changes.learned(pool, own.keys(), record)
    } else policyOf = record && learnedArm(loadPolicy(dataDir, record), clock.nowMs)
    // Also after profiles: policies take what they know of an engine when they are made.
    router.arms.serve(deciding())
  }
  const attempt = async (what: string, act: () => Promise<void>): Promise<void> => {
    try {
      await act()
    } catch (error) {
      count(`${what} not loaded`)
      warn(`${error instanceof Error ? error.message : error}; what ships or is configured serves in its place`)
    }
  }
  return {
    insteadOf: (pool) => (aside && (policyOf || pool.policy === LEARNED) ? ruleNamed(aside.rule, pool) : undefined),
    profileOf: (pool, { name }) => profiles.get(pool)?.get(name),
    async restore(router) {
      aside = control.setAside()
      if (aside) router.arms.serve(deciding())
      for (const kind of KINDS) {
        const record = control.models.withAlias(kind, 'champion')
        if (record) await attempt(`${kind} model`, () => put(router, kind, record))
      }
      const trial = control.trials.running()
      if (trial) await attempt('trial', async () => router.arms.begin(await trialOf(trial, { ...parts, control })))
    },
    async obey(router, { kind, subject }) {
      if (kind === 'serve') {
        const { kind: of, modelId } = subject as ServeSubject
        const record = modelId === null ? undefined : control.models.get(modelId)
        if (modelId !== null && !record) throw new Error(`there is no model ${modelId}`)
        const before = aside
        if (of === 'policy') aside = undefined
        try {
          await put(router, of, record)
        } catch (error) {
          aside = before
          throw error
        }
        return record ? `${record.version} serves` : of === 'policy' ? 'the configured policies serve' : `the shipped ${of} model serves`
      }
      if (kind === SET_ASIDE || kind === TAKE_UP) {
        aside = kind === SET_ASIDE ? (subject as SetAsideSubject) : undefined
        if (aside) count('learned policy set aside')
        router.arms.serve(deciding())
        return aside ? `${aside.rule ?? 'the configured or fallback policy'} places instead` : 'the learned policy decides again'
      }
      const { trialId } = subject as TrialSubject
      if (kind === 'end trial') {
        router.arms.end(trialId)
        return `trial ${trialId} is over: the champion decides`
      }
      const trial = control.trials.get(trialId)
      if (trial?.state !== 'running') throw new Error(`trial ${trialId} does not run`)
      router.arms.begin(await trialOf(trial, { ...parts, control }))
      return trial.mode === 'shadow' ? 'every call is scored' : 'blocks are dealt; the first ones are control until the guard can judge'
    },
    close: () => control.close(),
  }
}

/** What places while the learned policy is set aside: the rule named, else the configured one, else the pool's fallback; and it holds as configured. */
function ruleInstead(rule: string | undefined): (pool: RouterPool) => ArmPolicy {
  return (pool) => {
    const { weights, profileOf, hold } = pool
    return {
      policy: createPolicy(ruleNamed(rule, pool), { weights, profileOf }),
      ...(hold ? { createRule: () => createRuleOf(hold) } : {}),
    }
  }
}

function ruleNamed(rule: string | undefined, { policy, fallbackPolicy }: Pick<RouterPool, 'policy' | 'fallbackPolicy'>): string {
  if (rule !== undefined && rule !== LEARNED && SELECTABLE_POLICY_NAMES.includes(rule)) return rule
  return policy === LEARNED ? fallbackPolicy : policy
}

/** Folder of the length model that the configuration names; where lengths are off there is none to go back to. */
function shippedLength({ prediction }: Config): string {
  return prediction.lengthModel === 'base' || prediction.lengthModel === 'off' ? BASE_FOLDER : prediction.lengthModel
}

async function trialOf(
  trial: Trial,
  { config, control, lengths, clock }: ServingParts & { readonly control: Control },
): Promise<RouterTrial> {
  const { dataDir } = config
  const recordOf = (modelId: number | null): ModelRecord | undefined => {
    if (modelId === null) return undefined
    const record = control.models.get(modelId)
    if (!record) throw new Error(`there is no model ${modelId}`)
    return record
  }
  const [length, policy, profile] = [trial.lengthModelId, trial.policyModelId, trial.profileModelId].map(recordOf)
  if (length) loadLength(dataDir, length)
  const policyOf = policyOfTrial({
    model: policy && loadPolicy(dataDir, policy),
    profiles: profile && loadProfiles(dataDir, profile),
    nowMs: clock.nowMs,
  })
  const { trialId, mode, seed, startedUnixMs, blockMs, washoutMs, shareRatio, blocksPlanned } = trial
  const plan = { seed, startUnixMs: startedUnixMs, blockMs, washoutMs, shareRatio }
  const { timeFactor } = config.night.canary
  return {
    trialId,
    models: { ...(policyOf ? { policyOf } : {}), ...(length ? { lengths: await lengths.beside(join(dataDir, length.folder)) } : {}) },
    ...(mode === 'canary'
      ? { canary: { ...plan, blocksPlanned, timeFactor, guards: await warmGuards({ dataDir, clock, plan, timeFactor }) } }
      : {}),
  }
}

interface Tried {
  readonly model: ReturnType<typeof loadPolicy> | undefined
  readonly profiles: PoolProfiles | undefined
  readonly nowMs: () => number
}

function policyOfTrial({ model, profiles, nowMs }: Tried): ((pool: RouterPool) => ArmPolicy) | undefined {
  if (!model && !profiles) return undefined
  return (pool) => {
    const own = profiles?.get(pool.name)
    const known: RouterPool = own ? { ...pool, profileOf: (instance) => own.get(instance.name) ?? pool.profileOf?.(instance) } : pool
    if (model) return learnedArm(model, nowMs)(known)
    const { policy, weights, profileOf } = known
    return { policy: createPolicy(policy, { weights, profileOf, model: pool.model }) }
  }
}
