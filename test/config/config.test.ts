import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Config, ConfigError, parseConfig, parseInstancesFile } from '../../plugin/config.ts'
import type { InstanceView } from '../../plugin/fleet/instance.ts'
import { HOLD_ORDERS, HOLD_RULE_DEFAULTS } from '../../plugin/hold/hold-rules.ts'
import { holdSetting, routerPool } from '../../plugin/main-pools.ts'
import { POLICY_NAMES } from '../../plugin/placement/policies.ts'

function parse(text: string, env: Record<string, string> = {}): Config {
  return parseConfig({ input: { path: '/etc/phasewise/phasewise.yaml', text }, env, policyNames: POLICY_NAMES })
}

function problemsOf(text: string, env: Record<string, string> = {}): string[] {
  try {
    parse(text, env)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(({ key, got }) => `${key} ${got}`)
    throw error
  }
  return []
}

const POOL = 'pools: [{name: m, instances: [{url: "http://h:1"}]}]'

test('a pool and one address are enough; the rest has defaults on loopback', () => {
  const config = parse(POOL)
  expect(config.pools[0]).toMatchObject({ models: ['m'], policy: 'least-request-speed', exploration: 0.01, requestUsage: true })
  expect(config.pools[0]?.instances[0]).toMatchObject({ name: 'h:1', url: 'http://h:1', weight: 1, speed: 1 })
  expect(config.gateways.openai.listen).toEqual({ host: '127.0.0.1', port: 8400 })
  expect([
    config.admin.listen?.port,
    config.telemetry.metrics?.port,
    config.gateways.placements.listen?.port,
    config.gateways.envoy.listen?.port,
  ]).toEqual([8401, 8402, 8403, 8404])
  expect(Object.isFrozen(config.pools[0]?.instances[0])).toBe(true)
})

test('every mistake is told at once, of form and of meaning, with its key', () => {
  const problems = problemsOf(`
dataDri: x
gateways: {openai: {listen: "0.0.0.0:99999"}}
pools:
- name: a b
  policy: fastest
  instances: [{url: "ftp://x"}, {url: "http://h:1", weight: 0, apiKey: {env: NOT_SET}}]
`)
  expect(problems.sort()).toEqual(
    [
      'dataDri a key that does not exist',
      'gateways.openai.listen "0.0.0.0:99999"',
      'pools.0.name "a b"',
      'pools.0.policy "fastest"',
      'pools.0.instances.0.url "ftp://x"',
      'pools.0.instances.1.weight 0',
      'pools.0.instances.1.apiKey.env "NOT_SET"',
    ].sort(),
  )
})

test.each([
  ['generations: 0', 'night.generations: got 0; allowed is 1 or more'],
  ['generations: 1.5', 'night.generations: got 1.5; allowed is a whole number'],
  ['generations: 99999', 'night.generations: got 99999; allowed is at most 10000'],
  ['seed: -1', 'night.seed: got -1; allowed is 0 or more'],
  ['canary: {blocks: -4}', 'night.canary.blocks: got -4; allowed is 0 or more'],
  ['canary: {blockMs: 100, washoutMs: 5000}', 'night.canary.washoutMs: got 5000; allowed is less than the block of 100 ms'],
  ['canary: 5', 'night.canary: got 5; allowed is keys of its own below it'],
  ['schedule: "61 3 * * *"', 'night.schedule: got "61 3 * * *"; allowed is "off" or a cron expression'],
  ['schedule: "0 3 30 2 *"', 'night.schedule: got "0 3 30 2 *"; allowed is "off" or a cron expression that comes due some day'],
  ['timeZone: Mars/Phobos', 'night.timeZone: got "Mars/Phobos"; allowed is a time zone such as UTC or Europe/Berlin'],
  ['jitterMinutes: -1', 'night.jitterMinutes: got -1; allowed is 0 to 720'],
])('a night with %s is refused with key, value and what is allowed', (line, told) => {
  expect(() => parse(`${POOL}\nnight: {${line}}`)).toThrow(told)
})

test('sentences of the file are in its own words, also where a schema has none', () => {
  expect(() => parse(`${POOL}\nnight: off`)).toThrow('night: got "off"; allowed is keys of its own below it')
  expect(() => parse(`${POOL}\ndataDir: 5`)).toThrow('dataDir: got 5; allowed is a text')
  expect(() => parse(`${POOL}\nhealth: {failuresToEject: 0.5}`)).toThrow('health.failuresToEject: got 0.5; allowed is a whole number')
})

test('a secret written into the file is refused and not repeated', () => {
  const text = 'pools: [{name: m, instances: [{url: "http://h:1", apiKey: sk-very-secret}]}]'
  expect(problemsOf(text)).toEqual(['pools.0.instances.0.apiKey (hidden)'])
  expect(() => parse(text)).not.toThrow(/sk-very-secret/)
})

test('keys come from the environment or from a file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'phasewise-'))
  writeFileSync(join(folder, 'key'), 'from-file\n')
  const text = 'pools: [{name: m, instances: [{url: "http://h:1", apiKey: {env: A}}, {url: "http://h:2", apiKey: {file: key}}]}]'
  const config = parseConfig({ input: { path: join(folder, 'phasewise.yaml'), text }, env: { A: 'from-env' }, policyNames: POLICY_NAMES })
  expect(config.pools[0]?.instances.map((one) => one.apiKey)).toEqual(['from-env', 'from-file'])
})

test('a proxy that others can reach needs caller keys', () => {
  expect(problemsOf(`gateways: {openai: {listen: "0.0.0.0:8400"}}\n${POOL}`)).toEqual(['gateways.openai.callerKeys none'])
  const keyed = `gateways: {openai: {listen: "0.0.0.0:8400", callerKeys: [{application: bot, key: {env: K}}]}}\n${POOL}`
  expect(parse(keyed, { K: 'k' }).gateways.openai.callerKeys).toEqual([{ application: 'bot', key: 'k' }])
})

test('a model name belongs to one pool, an instance name to one instance', () => {
  expect(
    problemsOf(
      'pools: [{name: a, models: [m], instances: [{url: "http://h:1"}]}, {name: b, aliases: {m: x}, instances: [{url: "http://h:2"}]}]',
    ),
  ).toEqual(['pools.1.models "m"'])
  expect(problemsOf('pools: [{name: a, instances: [{url: "http://h:1"}, {url: "http://h:1"}]}]')).toHaveLength(1)
})

test('text that is no YAML, and an empty file, are told in words', () => {
  expect(problemsOf('pools: [')).toEqual([' text that is not YAML'])
  expect(problemsOf('')).toEqual(['pools nothing'])
})

test('a watched file of instances is judged by the same rules', () => {
  expect(parseInstancesFile({ path: 'i.yaml', text: '- url: http://h:1/v1/', env: {} })).toMatchObject([{ name: 'h:1', url: 'http://h:1' }])
  expect(() => parseInstancesFile({ path: 'i.yaml', text: '- uri: http://h:1', env: {} })).toThrow(ConfigError)
})

test('listen takes a port, an address, IPv6 in brackets, or off', () => {
  const at = (value: string) => parse(`admin: {listen: ${value}}\n${POOL}`).admin.listen
  expect(at('9000')).toEqual({ host: '127.0.0.1', port: 9000 })
  expect(at('"[::1]:9000"')).toEqual({ host: '::1', port: 9000 })
  expect(at('"off"')).toBeUndefined()
})

test('hold is an order, or an order with its numbers; an engine that orders by itself needs none', () => {
  const hold = (text: string) => parse(`pools: [{name: m, ${text} instances: [{url: "http://h:1"}]}]`).pools[0]?.hold
  expect(hold('')).toEqual({ order: 'auto' })
  expect(hold('hold: kv-time,')).toEqual({ order: 'kv-time' })
  expect(hold('hold: {order: fcfs, waitingMax: 8, reserve: 0.05, maxMs: 9000},')).toEqual({
    order: 'fcfs',
    waitingMax: 8,
    reserve: 0.05,
    maxMs: 9_000,
  })
  expect(problemsOf('pools: [{name: m, hold: longest, instances: [{url: "http://h:1"}]}]')).toEqual(['pools.0.hold "longest"'])
  expect(problemsOf('pools: [{name: m, enginePriority: true, hold: fcfs, instances: [{url: "http://h:1"}]}]')).toEqual([
    'pools.0.hold "fcfs"',
  ])
  expect(holdSetting({ order: 'off' })).toBeUndefined()
  for (const order of HOLD_ORDERS) expect(holdSetting(hold(`hold: ${order},`)!)).toMatchObject({ when: 'always', rule: { order } })
  expect(holdSetting(hold('')!)).toMatchObject({ when: 'capacity known', rule: HOLD_RULE_DEFAULTS })
})

test('a profile that does not exist is told, of a pool and of an instance', () => {
  const text = 'pools: [{name: m, profile: a, instances: [{url: "http://h:1", profile: b}, {url: "http://h:2", profile: ok}]}]'
  const problem = (() => {
    try {
      return parseConfig({ input: { path: 'x.yaml', text }, env: {}, policyNames: POLICY_NAMES, profileNames: ['ok'] })
    } catch (error) {
      return error
    }
  })()
  expect((problem as ConfigError).problems.map(({ key }) => key)).toEqual(['pools.0.profile', 'pools.0.instances.0.profile'])
  const [pool] = parse(
    'pools: [{name: m, profile: v100-paper, instances: [{url: "http://h:1", profile: a100-8b}, {url: "http://h:2"}]}]',
  ).pools
  const shape = (name: string) => routerPool(pool!).profileOf?.({ name } as InstanceView)
  expect([shape('h:1')?.kvBlocks, shape('h:2')?.kvBlocks]).toEqual([25_000, 512])
})

test('what modes were called before is read as it is meant, and said', () => {
  const before = parse(
    'pools: [{name: m, mode: canary, canary: 0.3, instances: [{url: "http://h:1"}]}, {name: n, mode: shadow, instances: [{url: "http://h:2"}]}]',
  )
  expect(before.pools.map(({ mode, share }) => [mode, share])).toEqual([
    ['share', 0.3],
    ['observe', 0.1],
  ])
  expect(before.renamed).toEqual([
    'pools.0.mode: "canary" is called "share" now',
    'pools.0.canary is called share now',
    'pools.1.mode: "shadow" is called "observe" now',
  ])
  expect(parse(POOL.replace('m,', 'm, mode: share, share: 0.2,')).renamed).toEqual([])
  expect(problemsOf(POOL.replace('m,', 'm, mode: half,'))).toEqual(['pools.0.mode "half"'])
})
