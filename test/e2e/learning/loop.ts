import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Gain } from '../../../plugin/learning/evaluate-intervals.ts'
import { MEAN_E2E } from '../../../plugin/learning/figure.ts'
import { estimateOf } from '../../../plugin/learning/trial-conclusion.ts'
import type { ModelRecord } from '../../../plugin/log/control/models.ts'
import { readBlocks } from '../../../plugin/log/read/trials.ts'
import type { LearningSite } from './site.ts'
import type { Seen } from './traffic.ts'

/** How long each part of the loop takes. */
export interface LoopPlan {
  readonly load: number
  readonly daySeconds: number
  /** Of the day after, where it is shorter. */
  readonly afterSeconds?: number
  readonly generations: number
  readonly blockMs: number
  readonly washoutMs: number
  readonly blocks: number
  /** Promote also what its verdict refuses or the canary did not show; else the configured rule serves on. */
  readonly forced?: true
}

/** What the loop came to. Gains are shares of mean E2E that were saved. */
export interface LoopResult {
  readonly before: Seen
  readonly policy: ModelRecord
  /** With its 95 % interval. */
  readonly promised: Gain
  readonly canary: {
    readonly state: string
    readonly why: string | null
    readonly words: string
    readonly gain?: number
    readonly low?: number
    readonly high?: number
  }
  readonly after: Seen
  readonly promoted: boolean
  /** After against before, by what callers saw. */
  readonly dayGain: number
  /** How late engine steps and callers were woken at most in 99 of 100 cases, ms: a machine that is busy with other things shows here. */
  readonly latenessMs: number
}

/** Control that a guard has to know before a challenger gets its first block, at the site's time factor; see guard-reference.ts. */
const WARM_SECONDS = 90

/** A day under the configured rule, a night, a canary, and a day under what the night made. `told` hears each step. */
export async function runLoop(site: LearningSite, plan: LoopPlan, told: (line: string) => void): Promise<LoopResult> {
  const { control, reader } = site
  const lateness = monitorEventLoopDelay({ resolution: 5 })
  lateness.enable()
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
  const { gain } = JSON.parse(verdict?.numbers ?? '{}') as { readonly gain: Gain }
  const { trialId } = await runCanary(site, policy, plan, told)
  const estimate = estimateOf(
    reader.read((query) => readBlocks(query, trialId)),
    MEAN_E2E,
  )
  const { state, endedWhy } = control.trials.get(trialId) ?? { state: 'lost', endedWhy: null }
  told(`  ${estimate.words} (${state}: ${endedWhy})`)
  const isShown = state === 'ended' && 'low' in estimate && estimate.low > 0
  const promoted = isShown || plan.forced ? await promote(site, policy, plan, told) : false
  if (!isShown && !plan.forced) told('the canary has not shown a gain: nothing is promoted')
  told(`a day under ${promoted ? policy.version : 'least-request again'}`)
  const after = await site.day({ name: 'first', seconds: plan.afterSeconds ?? plan.daySeconds, load: plan.load })
  told(`  ${after.sent} calls, ${after.failed} failed, mean E2E ${seconds(after.meanE2eMs)}`)
  lateness.disable()
  return {
    before,
    policy,
    promised: gain,
    canary: { state, why: endedWhy, ...estimate },
    after,
    promoted,
    dayGain: 1 - after.meanE2eMs / before.meanE2eMs,
    latenessMs: lateness.percentile(99) / 1e6,
  }
}

async function promote(site: LearningSite, policy: ModelRecord, plan: LoopPlan, told: (line: string) => void): Promise<boolean> {
  const { text, ended } = await site.command('models', 'promote', policy.version, ...(plan.forced ? ['--force'] : []))
  told(text.trim())
  return ended === 0
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
  // All blocks are control's until the guard has seen enough of it; the day before counts.
  const warmSeconds = Math.max(0, WARM_SECONDS - plan.daySeconds)
  const traffic = await site.day({ name: 'canary', seconds: warmSeconds + ((blocks + 3) * blockMs) / 1_000, load: plan.load })
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

/** A gain in words. */
export const change = (gain: number): string => `${percent(Math.abs(gain))} ${gain >= 0 ? 'lower' : 'higher'}`
