import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { registerModel, versionOf } from '../../plugin/learning/registry.ts'
import type { ModelKind } from '../../plugin/log/control/models.ts'
import { endAll, makeFolder, runPhasewise } from './processes.ts'
import { makeTrainerSite, ROWS, type TrainerSite } from './trainer-site.ts'

/** `phasewise models` as a stranger types it: what it shows, and that each refusal is one sentence. */
afterAll(endAll)

async function models(folder: string, ...args: readonly string[]): Promise<{ readonly code: unknown; readonly text: string }> {
  const command = runPhasewise(['models', ...args], { cwd: folder })
  return { code: await command.exited, text: command.text() }
}

/** Registers a version with a verdict; what its file says matters to nobody here. */
function register({ site, kind, text, passed }: { site: TrainerSite; kind: ModelKind; text: string; passed: boolean }): string {
  const control = site.control()
  const files = new Map([['model.json', new TextEncoder().encode(text)]])
  const version = versionOf(kind, files)
  const { dataDir } = site
  const card = { command: 'npm run phasewise -- train', data: { pool: 'llama', read: 9, used: 8, leftOut: { doubled: 1 } } }
  const modelId = registerModel({ dataDir, models: control.models, kind, version, files, card, featureHash: null })
  const words = `${passed ? '' : 'not promoted: '}the first clause; the second clause`
  control.models.addVerdict({ modelId, runId: null, passed, words, numbers: '{}' })
  return version
}

test('where nothing is yet, that is said, and nothing is made', async () => {
  const nothing = await models(makeFolder(), 'list')
  expect(nothing.code).toBe(1)
  expect(nothing.text).toMatch(/^there is no data directory .*\.phasewise yet: start Phasewise or train first.*\n$/)
})

test('every refusal is one sentence with what to do, and changes nothing', async () => {
  const site = await makeTrainerSite(ROWS.slice(0, 20))
  const [good, bad, length] = [
    register({ site, kind: 'policy', text: 'good', passed: true }),
    register({ site, kind: 'policy', text: 'bad', passed: false }),
    register({ site, kind: 'length', text: 'damaged', passed: true }),
  ]
  appendFileSync(join(site.dataDir, 'models/length', length, 'model.json'), ' ')
  const refusals: readonly (readonly [args: readonly string[], words: string])[] = [
    [['show', 'policy-none'], 'there is no model policy-none; npm run phasewise -- models list shows all'],
    [['list', 'engines'], '"engines" is no kind of model; there are length, policy and profile'],
    [['promote', bad], `${bad}: not promoted: the first clause; the second clause; --force promotes it all the same`],
    [['promote', length], `length model ${length} in `],
    [['rollback', 'policy'], 'no trained policy model serves: there is nothing to roll back'],
    [['canary', good, bad], `${good} and ${bad} are both policy models: one of each kind can be tried at a time`],
    [['canary', good, '--share', '0.9'], "this canary cannot be run: the challenger's share must be above 0 and at most 0.5, got 0.9"],
    [
      ['canary', good, '--block-ms', '1000', '--washout-ms', '2000'],
      'this canary cannot be run: the wash-out must be shorter than the block of 1000 ms, got 2000',
    ],
    [['canary', 'end'], 'neither shadow nor canary runs'],
    [['shadow', 'status'], 'there was no shadow yet; npm run phasewise -- models shadow VERSION starts one'],
  ]
  const control = site.control()
  for (const [args, words] of refusals) {
    const { code, text } = await models(site.folder, ...args)
    expect([args, code, text.split('\n').length]).toEqual([args, 1, 2])
    expect(text).toContain(words)
  }
  expect([control.models.history({ limit: 5 }), control.trials.list({ limit: 5 })]).toEqual([[], []])
}, 120_000)

test('a version is shown for people, and whole for machines; one trial runs at a time and is ended by its own name', async () => {
  const site = await makeTrainerSite(ROWS.slice(0, 20))
  const version = register({ site, kind: 'policy', text: 'good', passed: true })
  const list = await models(site.folder, 'list')
  expect(list.text).toMatch(new RegExp(`^${version} .* passed +the first clause\\n$`))
  const { text } = await models(site.folder, 'show', version)
  expect(text).toContain(`${version}: policy model`)
  expect(text).toMatch(/verdict +passed: the first clause\n +the second clause/)
  expect(text).toMatch(/data +8 of 9 rows, judged on pool llama; left out: 1 doubled/)
  expect(text).toContain(`npm run phasewise -- models promote ${version}`)
  const whole = JSON.parse((await models(site.folder, 'show', version, '--json')).text) as Record<string, unknown>
  expect(whole).toMatchObject({ version, card: { data: { used: 8 } }, verdicts: [{ passed: 1 }], files: { 'model.json': 4 } })
  const begun = await models(site.folder, 'shadow', version)
  expect(begun.text).toMatch(/shadow 1: every call is scored.*\nnoted; no router answered yet/)
  expect((await models(site.folder, 'canary', version)).text).toContain('shadow 1 runs: end it first')
  expect((await models(site.folder, 'canary', 'end')).text).toContain(
    'no canary runs, but shadow 1; npm run phasewise -- models shadow end',
  )
  const status = await models(site.folder, 'shadow', 'status')
  expect(status.text).toMatch(new RegExp(`^shadow 1: running\\n +tries +${version}\\n`))
  expect((await models(site.folder, 'shadow', 'end', '--why', 'seen enough')).text).toBe('shadow 1 is ended\n')
  expect((await models(site.folder, 'shadow', 'status')).text).toMatch(/ended +.*: seen enough/)
}, 120_000)
