import { afterEach, expect, test } from 'vitest'
import { measureRows, measuresOf } from '../../admin/pages/models/numbers.ts'
import { openStage, type Stage } from './visitor.ts'

/** Models, Training and their forms, as somebody reads them after a night. */
let stage: Stage | undefined
afterEach(() => stage?.close())

const rowsOf = (numbers: object): Record<string, unknown> =>
  Object.fromEntries(measureRows(measuresOf(numbers)).map(({ name, value }) => [name, value]))

test('a measure is told in words with its unit: counts whole, shares in percent, times with their unit', () => {
  const numbers = { heldOutCalls: 2_047, gainVsLeastRequest: 0.3252, ttftP99VsLeastRequest: 0.848, twinError: 0.0198 }
  expect(rowsOf({ ...numbers, canary: { blockMs: 8_000, blocks: 8 }, secondOpinion: { agreement: 0.63 } })).toEqual({
    'later calls judged on': '2,047',
    'gain over least-request': '32.5 %',
    'TTFT p99 over that of least-request': '84.8 %',
    'error of the twin on calls as they were served': '1.98 %',
    'canary: block': '8.00 s',
    'canary: blocks': '8',
    'second opinion: agreement': '63.0 %',
  })
})

test('the gain of a length model is in nats, and is not drawn as one of mean E2E', async () => {
  stage = await openStage()
  const { control } = stage
  const modelId = control.models.register({ kind: 'length', version: 'length-1', sha256: 'ab', featureHash: null, card: '{}' })
  const numbers = JSON.stringify({ rows: 2_047, championScore: 6.3, challengerScore: 2.66, gain: [3.644, 3.513, 3.775] })
  control.models.addVerdict({ modelId, runId: null, passed: true, words: 'as likely', numbers })
  const { html } = await (await stage.signedIn('viewer')).get(`/models/${modelId}`)
  expect(html).toContain('gain over what serves, nats per answer')
  expect(html).toContain('3.64')
  expect(html).not.toContain('Gain in mean E2E')
})

test('a run tells the window that it read, not only that it was as configured', async () => {
  stage = await openStage()
  const { trainingRuns } = stage.control
  const run = trainingRuns.append({ askedBy: 'ann', plan: { trigger: 'command', minutes: 15 } })
  const viewer = await stage.signedIn('viewer')
  expect((await viewer.get(`/training/${run}`)).html).toContain('as configured')
  trainingRuns.start(run, 4711)
  const range = { fromUnixMs: Date.UTC(2026, 10, 20, 2, 28), toUnixMs: Date.UTC(2026, 10, 27, 2, 28) }
  trainingRuns.progress(run, {
    progressRatio: 1,
    phase: 'registering',
    detail: JSON.stringify({ range, calls: 9, mended: 0, peakMiB: 458 }),
  })
  const { html } = await viewer.get(`/training/${run}`)
  for (const text of ['20 Nov 02:28:00 to 27 Nov 02:28:00', 'Minutes for the search', 'Memory at most, MiB', 'Rows read'])
    expect(html).toContain(text)
  expect(html).not.toMatch(/mended|mi b/)
  expect((await viewer.get('/training')).html).toContain('20 Nov 02:28:00 to 27 Nov 02:28:00')
})

test('a run that made what was registered before shows it all the same', async () => {
  stage = await openStage()
  const { models, trainingRuns } = stage.control
  const [first, second] = [1, 2].map(() => trainingRuns.append({ askedBy: 'ann' })) as [number, number]
  models.register({ kind: 'profile', version: 'profile-1', sha256: 'ab', featureHash: null, card: '{}', runId: first })
  trainingRuns.start(second, 4711)
  const detail = JSON.stringify({ made: [{ kind: 'profile', version: 'profile-1', passed: true }] })
  trainingRuns.progress(second, { progressRatio: 1, phase: 'registering', detail })
  trainingRuns.end(second, { state: 'done' })
  expect((await (await stage.signedIn('viewer')).get(`/training/${second}`)).html).toContain('profile-1')
})

test('a canary asked for by the form has the blocks that the twin foretold, in seconds', async () => {
  stage = await openStage()
  const { control } = stage
  const modelId = control.models.register({ kind: 'policy', version: 'policy-1', sha256: 'ab', featureHash: null, card: '{}' })
  const canary = { blocks: 9, blockMs: 7_500, washoutMs: 2_500, shareRatio: 0.5, words: 'a canary needs about 9 blocks of 8 s to show it' }
  control.models.addVerdict({ modelId, runId: null, passed: true, words: 'better', numbers: JSON.stringify({ canary }) })
  const operator = await stage.signedIn('operator')
  const { html } = await operator.get(`/models/${modelId}/try`)
  expect(html).toMatch(/Seconds per block<input name="seconds" value="7\.5"/)
  expect(html).toMatch(/name="washout" value="2\.5"/)
  const form = { mode: 'canary', share: '50', seconds: '7.5', washout: '2.5', blocks: '9', why: 'a look' }
  expect((await operator.post(`/models/${modelId}/try`, { ...form, washout: '7.5' })).status).toBe(422)
  expect(control.trials.running()).toBeUndefined()
  await operator.post(`/models/${modelId}/try`, form)
  expect(control.trials.running()).toMatchObject({ mode: 'canary', blockMs: 7_500, washoutMs: 2_500, blocksPlanned: 9, shareRatio: 0.5 })
})

test('a policy that serves without the profiles it was judged with is told, and what to do', async () => {
  stage = await openStage()
  const { models } = stage.control
  const of = { sha256: 'ab', featureHash: null, card: '{}' }
  const profileModelId = models.register({ kind: 'profile', version: 'profile-1', ...of })
  const policy = models.register({ kind: 'policy', version: 'policy-1', profileModelId, ...of })
  const asked = { who: 'ada', why: 'a test' }
  const operator = await stage.signedIn('operator')
  expect((await operator.get(`/models/${policy}/promote`)).html).toContain('With it goes profile-1')
  expect((await operator.get(`/models/${policy}/try`)).html).toContain('With it goes profile-1')
  models.promote(policy, asked)
  expect((await operator.get('/models')).html).not.toContain('was judged with')
  expect((await operator.get('/models/roll-back?kind=policy')).html).toContain(
    'within a second, the rule that the configuration names serves',
  )
  models.rollBack('profile', asked)
  const banner = 'policy-1 was judged with profile-1, which does not serve'
  const { html } = await operator.get('/models')
  expect(html).toContain(banner)
  expect(html).toContain(`<a href="/models/${profileModelId}/promote">Promote profile-1</a>`)
  const seen = (await (await stage.signedIn('viewer')).get('/models')).html
  expect(seen).toContain(banner)
  expect(seen).not.toContain('>Promote profile-1<')
})

test('a policy of a night whose objective is calls in time is drawn by them', async () => {
  stage = await openStage()
  const { models } = stage.control
  const modelId = models.register({ kind: 'policy', version: 'policy-1', sha256: 'ab', featureHash: null, card: '{}' })
  const arms = [
    { arm: 'least-request', meanE2eMs: 900, withinLimits: 0.91 },
    { arm: 'challenger', meanE2eMs: 1_000, withinLimits: 0.99 },
  ]
  const numbers = JSON.stringify({ gainWords: 'fewer calls late', gain: [0.8, 0.7, 0.9], arms })
  models.addVerdict({ modelId, runId: null, passed: true, words: '80.0 % fewer calls late', numbers })
  const { html } = await (await stage.signedIn('viewer')).get(`/models/${modelId}`)
  expect(html).toContain('Fewer calls late, in the twin, on later calls')
  expect(html).toContain('Calls in time, in the twin')
  expect(html).not.toMatch(/[Mm]ean E2E/)
})
