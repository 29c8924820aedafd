import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import type { ModelRecord } from '../../../plugin/log/control/models.ts'
import { endAll, eventually } from '../processes.ts'
import { agreementOf } from './agreement.ts'
import { type LoopResult, runLoop } from './loop.ts'
import { type LearningSite, startLearningSite } from './site.ts'

/** The loop of `npm run demo:learning`, short: log → calibrate → train → judge → canary → promote → roll back, over real processes. */
const PLAN = {
  load: 0.5,
  daySeconds: 60,
  afterSeconds: 20,
  generations: 2,
  blockMs: 3_000,
  washoutMs: 800,
  blocks: 16,
  forced: true,
} as const

afterAll(endAll)

test('a day, a night, a canary and a day after: every step is there, no call is lost, and all of it can be taken back', async () => {
  const site = await startLearningSite()
  try {
    const lines: string[] = []
    const result = await runLoop(site, PLAN, (line) => void lines.push(line))
    expectLoop(site, result, lines)
    const back = await site.command('models', 'rollback', 'policy')
    expect(back.text).toMatch(/done: the configured policies serve/)
    expect(site.control.models.withAlias('profile', 'champion')).toBeUndefined()
    await expectRefusal(site, result)
    await expectRetrain(site)
  } finally {
    await site.close()
  }
}, 900_000)

function expectLoop(site: LearningSite, result: LoopResult, lines: readonly string[]): void {
  const { control, reader } = site
  expect([result.before.failed, result.after.failed]).toEqual([0, 0])
  expect(result.before.sent).toBeGreaterThan(400)
  expect(lines.join('\n')).toMatch(/rows can be used/)
  expect(['ended', 'withdrawn']).toContain(result.canary.state)
  expect(result.promised.every(Number.isFinite)).toBe(true)
  const counts = reader.read((query) =>
    query.all<{ arm: string | null; version: string; calls: number }>(
      `SELECT arm, policy_version AS version, count(*) AS calls FROM call GROUP BY 1, 2`,
    ),
  )
  const calls = (arm: string | null, version: string): number =>
    counts.find((one) => one.arm === arm && one.version === version)?.calls ?? 0
  expect(calls(null, 'none')).toBeGreaterThanOrEqual(result.before.sent)
  expect(calls('control', 'none')).toBeGreaterThan(0)
  // The challenger served blocks of its own, drawn by lot, and was measured by them.
  expect(calls('challenger', result.policy.version)).toBeGreaterThan(50)
  if (result.canary.state === 'ended') {
    expect(result.canary.words).toMatch(/lower mean E2E \(95 % interval .* to .*\) over \d+ challenger and \d+ control blocks/)
    expect(result.canary.low).toBeLessThan(result.canary.gain as number)
  } else expect(result.canary.why).toMatch(/pool llama-2-7b: /)
  expect(result.promoted).toBe(true)
  // On a busy machine a decision now and then takes too long, and the fallback policy decides in its stead.
  expect(calls(null, result.policy.version)).toBeGreaterThan(0.99 * result.after.sent)
  expect(control.models.history({ limit: 5, kind: 'policy' })).toMatchObject([{ action: 'promote', modelId: result.policy.modelId }])
  expectServedAsJudged(site, result)
}

/** The profiles that the night judged its policy with serve with it: with others it decides otherwise, and the promise is worth nothing. */
function expectServedAsJudged(site: LearningSite, { policy, after }: LoopResult): void {
  const profiles = site.control.models.withAlias('profile', 'champion') as ModelRecord
  expect(profiles.modelId).toBe(policy.profileModelId)
  expect(site.control.trials.list({ limit: 1 })[0]?.profileModelId).toBe(profiles.modelId)
  expect(agreementOf(site, { day: after, policy, profiles })).toBeGreaterThan(0.9)
}

/** What the admin asks by intent: a night of the running Phasewise, and its end. */
async function expectRetrain({ control }: LearningSite): Promise<void> {
  const ask = (kind: string, subject: unknown): number => control.intents.append({ kind, subject, askedBy: 'ada' })
  const asked = ask('retrain', { only: 'policy', generations: 1_000 })
  const run = await eventually('the run is under way', () =>
    control.trainingRuns.list({ limit: 1 }).find((one) => one.askedBy === 'ada' && one.phase !== null),
  )
  expect(control.intents.get(asked)).toMatchObject({ state: 'done', answer: `run ${run.runId} waits for the trainer` })
  ask('cancel', { runId: run.runId })
  const ended = await eventually('it has stopped', () => control.trainingRuns.list({ limit: 1 }).find((one) => one.state === 'cancelled'))
  expect(ended).toMatchObject({ runId: run.runId, error: 'cancelled by ada', plan: { trigger: 'admin', only: 'policy' } })
}

/** A damaged file is refused by name, and what serves stays. */
async function expectRefusal(site: LearningSite, { policy }: LoopResult): Promise<void> {
  const path = join(site.folder, '.phasewise', policy.folder, 'model.onnx')
  const bytes = readFileSync(path)
  writeFileSync(path, bytes.subarray(0, 100))
  const refused = await site.command('models', 'promote', policy.version, '--force')
  expect(refused.ended).toBe(1)
  expect(refused.text).toMatch(new RegExp(`${policy.version} in .* is not what was registered`))
  // By way of the registry alone, as the admin does: the router finds it, and the promotion is undone.
  const { intentId } = site.control.models.promote(policy.modelId, { who: 'test', why: 'past the check' })
  await expect.poll(() => site.control.intents.get(intentId)?.state, { timeout: 5_000 }).toBe('refused')
  expect(site.control.models.withAlias('policy', 'champion')).toBeUndefined()
  writeFileSync(path, bytes)
}
