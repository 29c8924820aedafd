import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { parseInstancesFile } from '../../plugin/config.ts'
import type { DesiredInstance } from '../../plugin/gateways/instances/connections.ts'
import { createDiscovery, type Discovery, type DiscoveryParts } from '../../plugin/gateways/instances/discovery.ts'
import { record } from './servers.ts'

const ends: (() => void)[] = []
afterEach(() => {
  for (const end of ends.splice(0)) end()
})

interface Run {
  readonly discovery: Discovery
  readonly lists: ReturnType<typeof record<readonly DesiredInstance[]>>
  readonly problems: ReturnType<typeof record<string>>
  readonly names: () => string[]
}

function discover(parts: Pick<DiscoveryParts, 'file' | 'dns'> & { fixed?: readonly DesiredInstance[] }): Run {
  const lists = record<readonly DesiredInstance[]>()
  const problems = record<string>()
  const discovery = createDiscovery({ fixed: [], ...parts, onInstances: lists.push, onProblem: problems.push })
  ends.push(discovery.close)
  return { discovery, lists, problems, names: () => (lists.all.at(-1) ?? []).map((one) => one.name) }
}

/** A file of instances in a folder of its own, and the parts that watch it. */
function instancesFile(text: string, env: Record<string, string> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'phasewise-'))
  ends.push(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'instances.yaml')
  writeFileSync(path, text)
  const parse = (read: string) => parseInstancesFile({ path, text: read, env })
  return {
    file: { path, parse, settleMs: 5, rereadMs: 60_000 },
    write: (next: string) => writeFileSync(path, next),
    replace(next: string) {
      writeFileSync(`${path}.new`, next)
      renameSync(`${path}.new`, path)
    },
  }
}

const hasNames = (names: string) => (lists: readonly (readonly DesiredInstance[])[]) =>
  lists
    .at(-1)
    ?.map((one) => one.name)
    .join(' ') === names

test('a watched file adds, removes and changes instances while running', async () => {
  const { file, write } = instancesFile('- {name: a, url: "http://127.0.0.1:1"}\n', { KEY: 'k' })
  const run = discover({ file })
  await run.discovery.ready
  expect(run.names()).toEqual(['a'])
  write('- {name: a, url: "http://127.0.0.1:1", weight: 2, apiKey: {env: KEY}}\n- {name: b, url: "http://127.0.0.1:2"}\n')
  const [a] = (await run.lists.until(hasNames('a b'))).at(-1) ?? []
  expect(a).toMatchObject({ weight: 2, apiKey: 'k' })
  write('[]')
  await run.lists.until(hasNames(''))
  expect(run.problems.all).toEqual([])
})

test('a file that is replaced by another one is still watched', async () => {
  const { file, replace } = instancesFile('- {name: a, url: "http://127.0.0.1:1"}')
  const run = discover({ file })
  await run.discovery.ready
  for (const name of ['b', 'c', 'd']) {
    replace(`- {name: ${name}, url: "http://127.0.0.1:1"}`)
    await run.lists.until(hasNames(name))
  }
})

test.each([
  ['a mistake', '- {name: a, url: "http://127.0.0.1:1", weight: -1}', /0\.weight.*-1.*above 0/],
  ['half a file', '- {name: a, url: "http://127', /instances\.yaml/],
  ['nothing at all', '', /is empty; write \[\]/],
])('%s keeps the previous list and is told in words, once', async (_, text, words) => {
  const { file, write } = instancesFile('- {name: a, url: "http://127.0.0.1:1"}')
  const run = discover({ file })
  await run.discovery.ready
  write(text)
  const [problem] = await run.problems.until((all) => all.length > 0)
  expect(problem).toMatch(words)
  expect(problem).toContain('the previous list is kept')
  expect(run.names()).toEqual(['a'])
  write('- {name: b, url: "http://127.0.0.1:1"}')
  await run.lists.until(hasNames('b'))
  expect(run.discovery.problems()).toBe(1)
})

test('a file that is not there yet is told, and used when it comes', async () => {
  const { file, write } = instancesFile('')
  rmSync(file.path)
  const run = discover({ file, fixed: [{ name: 'fixed', url: 'http://127.0.0.1:9', weight: 1, speed: 1 }] })
  await run.discovery.ready
  expect(run.problems.all[0]).toMatch(/ENOENT.*no instances from it yet/)
  expect(run.names()).toEqual(['fixed'])
  write('- {name: late, url: "http://127.0.0.1:1"}')
  await run.lists.until(hasNames('fixed late'))
})

/** A resolver whose answers are given one by one. */
function resolver(...answers: (readonly string[] | Error)[]) {
  let asked = 0
  return async (): Promise<readonly string[]> => {
    const answer = answers[Math.min(asked++, answers.length - 1)]
    if (answer === undefined || answer instanceof Error) throw answer ?? new Error('no answer')
    return answer
  }
}

test('every address of a name is an instance, and the name is asked again', async () => {
  const resolve = resolver(['10.0.0.2', '10.0.0.1', '10.0.0.2'], ['10.0.0.2', '::1'])
  const run = discover({ dns: { host: 'llm.local', port: 8000, scheme: 'https', refreshMs: 5, apiKey: 'k', resolve } })
  await run.lists.until(hasNames('10.0.0.1:8000 10.0.0.2:8000'))
  const list = (await run.lists.until(hasNames('10.0.0.2:8000 [::1]:8000'))).at(-1)
  expect(list).toMatchObject([
    { url: 'https://10.0.0.2:8000', apiKey: 'k', serverName: 'llm.local' },
    { url: 'https://[::1]:8000', apiKey: 'k', serverName: 'llm.local' },
  ])
})

test('a lookup that fails keeps the old list and is counted', async () => {
  const resolve = resolver(['10.0.0.1'], new Error('ESERVFAIL'), [], ['10.0.0.3'])
  const run = discover({ dns: { host: 'llm.local', port: 8000, scheme: 'http', refreshMs: 5, resolve } })
  await run.lists.until(hasNames('10.0.0.3:8000'))
  expect(run.lists.all.map((list) => list.map((one) => one.name).join())).toEqual(['', '10.0.0.1:8000', '10.0.0.3:8000'])
  expect(run.problems.all).toHaveLength(2)
  expect(run.problems.all[0]).toMatch(/llm\.local.*ESERVFAIL.*previous addresses are kept/)
  expect(run.problems.all[1]).toContain('it has no address')
  expect(run.discovery.problems()).toBe(2)
})

test('the system’s resolver knows localhost', async () => {
  const run = discover({ dns: { host: 'localhost', port: 8000, scheme: 'http', refreshMs: 60_000 } })
  await run.discovery.ready
  expect(run.names().some((name) => name === '127.0.0.1:8000' || name === '[::1]:8000')).toBe(true)
})

test('two sources that use one name for two urls: the first keeps it, and it is told', async () => {
  const { file } = instancesFile('- {name: a, url: "http://127.0.0.1:1"}')
  const run = discover({ file, fixed: [{ name: 'a', url: 'http://127.0.0.1:9', weight: 1, speed: 1 }] })
  await run.discovery.ready
  expect(run.lists.all.at(-1)).toMatchObject([{ name: 'a', url: 'http://127.0.0.1:9' }])
  expect(run.problems.all[0]).toContain('give each its own name')
})

test('nothing is told after close', async () => {
  const { file, write } = instancesFile('- {name: a, url: "http://127.0.0.1:1"}')
  const run = discover({ file })
  await run.discovery.ready
  run.discovery.close()
  write('- {name: b, url: "http://127.0.0.1:1"}')
  const witness = discover({ file })
  await witness.lists.until(hasNames('b'))
  expect(run.names()).toEqual(['a'])
})
