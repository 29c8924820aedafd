import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { BASE_POLICY_FOLDER, POLICY_MODEL_FILE, readPolicyModel } from '../../plugin/learning/policy-folder.ts'
import { encodePolicy } from '../../plugin/learning/policy-net.ts'
import { registerModel } from '../../plugin/learning/registry.ts'
import { labVersion } from '../../plugin/log/control/lab.ts'
import { openStage, type Stage, type Visitor } from './visitor.ts'

const MAIN = fileURLToPath(new URL('../../plugin/main.ts', import.meta.url))
const VERSION = 'policy-1234abcd'

let stage: Stage
let operator: Visitor
beforeEach(async () => {
  stage = await openStage({ calls: 5 })
  operator = await stage.signedIn('operator')
  // The form's own token.
  await operator.get('/lab')
})
afterEach(() => stage.close())

/** A champion in the registry that decides exactly as the policy that ships. */
function registerTwin(): void {
  const base = readPolicyModel(BASE_POLICY_FOLDER)
  const { featureHash } = base
  const modelId = registerModel({
    dataDir: stage.dataDir,
    models: stage.control.models,
    kind: 'policy',
    version: VERSION,
    files: new Map([[POLICY_MODEL_FILE, encodePolicy(base.parameters)]]),
    featureHash,
    card: { kind: 'policy', version: VERSION, featureHash },
  })
  stage.control.models.promote(modelId, { who: 'maria', why: 'a test' })
}

const play = (runId: number): Promise<void> =>
  new Promise((resolve) => {
    // Its exit code says what the row says.
    execFile(process.execPath, [MAIN, 'lab-run', '--data-dir', stage.dataDir, '--run', String(runId)], () => resolve())
  })

const ask = async (form: Record<string, string>): Promise<number> => {
  const asked = await operator.post('/lab', form)
  expect([asked.status, asked.to]).toEqual([303, expect.stringMatching(/^\/lab\/\d+$/)])
  return Number(asked.to?.split('/').at(-1))
}

test('the learned policy that ships, and versions of the registry, are played on a scenario; equal nets come out equal', async () => {
  registerTwin()
  const form = (await operator.get('/lab')).html
  expect(form).toContain(`learned, champion: ${VERSION}`)
  expect(form).toContain('learned, as it ships: policy-base')
  const runId = await ask({
    source: 'scenario',
    scenario: 'v100x4@12',
    base: 'least-request',
    loads: '0.5',
    seeds: '1',
    'policy-learned': 'yes',
    [`policy-${labVersion(VERSION)}`]: 'yes',
    more: `${labVersion(VERSION)} + off`,
  })
  await play(runId)
  const run = stage.control.labRuns.get(runId)
  expect(run?.error).toBeNull()
  const rows = run?.result?.rows ?? []
  expect(rows.map(({ arm }) => arm)).toEqual(['least-request', labVersion(VERSION), 'learned', `${labVersion(VERSION)} + off`])
  const { arm: _, ...champion } = rows[1] ?? {}
  expect(rows[2]).toMatchObject(champion)
  expect(rows[1]?.meanE2eMs).not.toBe(rows[0]?.meanE2eMs)
  expect((await operator.get(`/lab/${runId}`)).html).toContain(labVersion(VERSION))
}, 60_000)

test('a version that nobody knows is refused, and one that has gone since fails the run in words', async () => {
  const form = { source: 'scenario', scenario: 'v100x4@12', base: 'least-request', loads: '0.5', seeds: '1' }
  const refused = await operator.post('/lab', { ...form, more: labVersion('policy-none') })
  expect(refused.status).toBe(422)
  expect(refused.html).toContain('is no policy')
  const arms = ['least-request', labVersion('policy-none')]
  const runId = stage.control.labRuns.append({
    plan: { source: { kind: 'scenario', name: 'v100x4@12' }, arms, loads: [0.5], seeds: 1 },
    askedBy: 'maria',
  })
  await play(runId)
  expect(stage.control.labRuns.get(runId)).toMatchObject({
    state: 'failed',
    error: expect.stringContaining('no policy version policy-none'),
  })
}, 60_000)
