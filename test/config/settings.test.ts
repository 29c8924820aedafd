import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { parseConfig } from '../../plugin/config.ts'
import { overlay, settingKey, settingPath, valueAt } from '../../plugin/config-settings.ts'

const TEXT = `# the file's own words
pools:
  - name: a/b.c
    exploration: 0.02 # two per cent
    instances: [{ url: http://10.0.0.1:8000, apiKey: { env: SECRET } }]
  - name: other
    hold: fcfs
    instances: [{ url: http://10.0.0.2:8000 }]
log: {}
`
const input = { path: '/etc/phasewise.yaml', text: TEXT }
const read = (overrides: Record<string, string>) => {
  const overlaid = overlay(input, overrides)
  const config = parseConfig({
    input: overlaid.input,
    env: { SECRET: 'hidden' },
    policyNames: ['impact', 'least-request', 'least-request-speed'],
  })
  return { ...overlaid, config }
}
const key = (...path: string[]): string => settingKey(path)

test('without overrides the configuration is the file’s', () => {
  expect(read({}).config).toEqual(parseConfig({ input, env: { SECRET: 'hidden' }, policyNames: ['least-request', 'least-request-speed'] }))
})

test('an override counts for its pool alone, whatever letters its name has', () => {
  const { config } = read({ [key('pools', 'a/b.c', 'exploration')]: '0.05', [key('pools', 'other', 'policy')]: '"impact"' })
  expect(config.pools.map(({ exploration, policy }) => [exploration, policy])).toEqual([
    [0.05, 'least-request-speed'],
    [0.01, 'impact'],
  ])
})

test('an order alone makes room for numbers beside it, and an empty section for keys', () => {
  const { config } = read({ [key('pools', 'other', 'hold', 'maxMs')]: '5000', [key('log', 'retentionDays')]: '7' })
  expect(config.pools[1]?.hold).toEqual({ order: 'fcfs', maxMs: 5000 })
  expect(config.log).toMatchObject({ retentionDays: 7, maxGiB: 10 })
})

test('the YAML keeps the file’s comments, names secrets as the file does, and reads as the same configuration', () => {
  const { yaml, config } = read({ [key('pools', 'a/b.c', 'exploration')]: '0.05' })
  expect(yaml).toContain("# the file's own words")
  expect(yaml).toContain('exploration: 0.05 # two per cent')
  expect(yaml).not.toContain('hidden')
  const again = parseConfig({
    input: { path: input.path, text: yaml },
    env: { SECRET: 'hidden' },
    policyNames: ['least-request', 'least-request-speed'],
  })
  expect(again).toEqual(config)
})

test('what fits nowhere is named and changes nothing', () => {
  const gone = key('pools', 'gone', 'exploration')
  const { unused, config } = read({ [gone]: '0.5', 'switch.off': '{}' })
  expect(unused).toEqual([gone])
  expect(config.pools.map(({ exploration }) => exploration)).toEqual([0.02, 0.01])
})

test('an objective of the nights is checked, stands in the YAML, and is read back from it', () => {
  const { config, yaml } = read({ [key('night', 'objective', 'kind')]: '"slo"', [key('night', 'objective', 'ttftMs')]: '800' })
  expect(config.night.objective).toEqual({ kind: 'slo', ttftMs: 800, perTokenMs: 100, tailWeight: 1 })
  expect(parse(yaml).night).toEqual({ objective: { kind: 'slo', ttftMs: 800 } })
  expect(() => read({ [key('night', 'objective', 'kind')]: '"speed"' })).toThrow('allowed is latency or slo')
  expect(() => read({ [key('night', 'objective', 'ttftMs')]: '0' })).toThrow('allowed is 1 to 3600000')
})

test('a wrong value is refused by the file’s own schema', () => {
  expect(() => read({ [key('pools', 'other', 'exploration')]: '2' })).toThrow('pools.1.exploration: got 2; allowed is 0 to 1')
  expect(() => read({ [key('pools', 'other', 'policy')]: '"none"' })).toThrow('allowed are')
})

test('a key gives back its path', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 4 }), (path) => {
      expect(settingPath(settingKey(path))).toEqual(path)
    }),
  )
  expect(settingPath('switch.off')).toBeUndefined()
  expect(settingPath('config/%E0%A4%A')).toBeUndefined()
})

test('values are found where the file has them', () => {
  const value: unknown = parse(TEXT)
  expect(valueAt(value, ['pools', 'a/b.c', 'exploration'])).toBe(0.02)
  expect(valueAt(value, ['pools', 'other', 'hold', 'order'])).toBe('fcfs')
  expect([valueAt(value, ['pools', 'none', 'policy']), valueAt(value, ['log', 'maxGiB']), valueAt(value, ['constructor'])]).toEqual([
    undefined,
    undefined,
    undefined,
  ])
})
