import { estimateOf } from '../../../plugin/learning/trial-conclusion.ts'
import type { ModelRecord } from '../../../plugin/log/control/models.ts'
import { readBlocks } from '../../../plugin/log/read/trials.ts'
import type { LearningSite } from './site.ts'
import type { Seen } from './traffic.ts'

/** How long each part of the loop takes. */
export interface LoopPlan {
  readonly load: number
  readonly daySeconds: number
  readonly generations: number
  readonly blockMs: number
  readonly washoutMs: number
  readonly blocks: number
  /** Promote also what its verdict refuses; else the configured rule serves on. */
  readonly forced?: true
}

/** What the loop came to. Gains are shares of mean E2E that were saved. */
export interface LoopResult {
  readonly before: Seen
  readonly policy: ModelRecord
  readonly verdict: string
  readonly promised: number
  readonly canary: {
    readonly state: string
    readonly why: string | null
    readonly words: string
    readonly gain?: number
    readonly low?: number
    readonly high?: number
  }
  readonly after: Seen
  /** After against before, by what callers saw. */
  readonly dayGain: number
}

/** A day under the configured rule, a night, a canary, and a day under what the night made. `told` hears each step. */
export async function runLoop(site: LearningSite, plan: LoopPlan, told: (line: string) => void): Promise<LoopResult> {
  const { control, reader } = site
  told(`a day under least-request: ${plan.daySeconds} s at ${100 * plan.load} % of the fleet's capacity`)
  const before = await site.day({ name: 'first', seconds: plan.daySeconds, load: plan.load })
  told(`  ${before.sent} calls, ${before.failed} failed, mean E2E ${seconds(before.meanE2eMs)}`)
  told(`a night: npm run phasewise -- train --generations ${plan.generations}`)
  const night = await site.command('train', '--generations', String(plan.generations))
  if (night.ended !== 0) throw new Error(`the night failed:\n${night.text}`)
  for (const line of night.text.trim().split('\n')) told(`  ${line}`)
  const policy = control.models.withAlias('policy', 'challenger')
  if (!policy) throw new Error(`the night made no policy:\n${night.text}`)
  const [verdict] = control.models.verdicts(policy.modelId)
  const { gain } = JSON.parse(verdict?.numbers ?? '{}') as { readonly gain: readonly [number, number, number] }
  const canary = await runCanary(site, policy, plan, told)
  const promoted = await site.command('models', 'promote', policy.version, ...(plan.forced ? ['--force'] : []))
  told(promoted.text.trim())
  told(`a day under ${promoted.ended === 0 ? policy.version : 'least-request again: nothing was promoted'}`)
  const after = await site.day({ name: 'first', seconds: plan.daySeconds, load: plan.load })
  told(`  ${after.sent} calls, ${after.failed} failed, mean E2E ${seconds(after.meanE2eMs)}`)
  const blocks = reader.read((query) => readBlocks(query, canary.trialId))
  const estimate = estimateOf(blocks)
  const { state, endedWhy } = control.trials.get(canary.trialId) ?? { state: 'lost', endedWhy: null }
  return {
    before,
    policy,
    verdict: verdict?.words ?? '',
    promised: gain[0],
    canary: { state, why: endedWhy, ...estimate },
    after,
    dayGain: 1 - after.meanE2eMs / before.meanE2eMs,
  }
}

async function runCanary(
  site: LearningSite,
  policy: ModelRecord,
  plan: LoopPlan,
  told: (line: string) => void,
): Promise<{ readonly trialId: number }> {
  const { blockMs, washoutMs, blocks } = plan
  const options = ['--share', '0.5', '--block-ms', String(blockMs), '--washout-ms', String(washoutMs), '--blocks', String(blocks)]
  told(`a canary: npm run phasewise -- models canary ${policy.version} ${options.join(' ')}`)
  const begun = await site.command('models', 'canary', policy.version, ...options)
  told(`  ${begun.text.trim().split('\n').join('\n  ')}`)
  if (begun.ended !== 0) throw new Error(`the canary did not begin: ${begun.text}`)
  // Some blocks pass until the guard has seen enough of control.
  const traffic = await site.day({ name: 'canary', seconds: ((blocks + 3) * blockMs) / 1_000, load: plan.load })
  told(`  ${traffic.sent} calls, ${traffic.failed} failed`)
  const [trial] = site.control.trials.list({ limit: 1 })
  if (!trial) throw new Error('there is no trial')
  if (trial.state === 'running') await site.command('models', 'canary', 'end', '--why', 'the traffic is over')
  return { trialId: trial.trialId }
}

/** Seconds as people read them. */
export const seconds = (ms: number): string => `${(ms / 1_000).toFixed(2)} s`

/** A ratio as people read it. */
export const percent = (ratio: number | undefined): string => (ratio === undefined ? '–' : `${(100 * ratio).toFixed(1)} %`)
