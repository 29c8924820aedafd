import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { type EnvoyFinding, examineEnvoy } from '../../../plugin/gateways/envoy/examine.ts'

const text = (file: string): string => readFileSync(new URL(`../../e2e/envoy/${file}`, import.meta.url), 'utf8')
const findings = (yaml: string, holdLimitMs = 30_000): EnvoyFinding[] => examineEnvoy({ config: parse(yaml), holdLimitMs })

test.each(['envoy.yaml', 'envoy-mtls.yaml'])('nothing is wrong with %s', (file) => {
  expect(findings(text(file)).map(({ level, about, found }) => (level === 'ok' ? level : `${about}: ${found}`))).toEqual(
    Array(6).fill('ok'),
  )
})

test.each<[what: string, change: (yaml: string) => string, level: string, sentence: RegExp]>([
  [
    'request bodies buffered',
    (yaml) => yaml.replace('request_body_mode: FULL_DUPLEX_STREAMED', 'request_body_mode: BUFFERED'),
    'fail',
    /request_body_mode is BUFFERED/,
  ],
  [
    'response bodies not sent',
    (yaml) => yaml.replace(/response_body_mode: .*/, 'response_body_mode: NONE'),
    'fail',
    /response_body_mode is NONE: calls are placed but not measured/,
  ],
  [
    'response headers skipped',
    (yaml) => yaml.replace('response_header_mode: SEND', 'response_header_mode: SKIP'),
    'fail',
    /response_header_mode is SKIP/,
  ],
  ['trailers not sent', (yaml) => yaml.replace(/ *response_trailer_mode: .*\n/, ''), 'fail', /response_trailer_mode is not set/],
  [
    'a timeout below the longest hold',
    (yaml) => yaml.replace('message_timeout: 60s', 'message_timeout: 5s'),
    'fail',
    /5000 ms, but Phasewise may hold/,
  ],
  ['no timeout at all', (yaml) => yaml.replace(/ *message_timeout: .*\n/, ''), 'fail', /200 ms, but/],
  ['HTTP/1 to the picker', (yaml) => yaml.replace('http2_protocol_options', 'http_protocol_options'), 'fail', /speaks HTTP\/1/],
  ['metadata not received', (yaml) => yaml.replace(/ *receiving_namespaces: .*\n/, ''), 'warn', /receiving_namespaces lacks envoy\.lb/],
  [
    'subsets not forwarded',
    (yaml) => yaml.replace('[envoy.lb, envoy.lb.subset_hint]', '[envoy.lb]'),
    'warn',
    /lacks envoy\.lb\.subset_hint/,
  ],
  [
    'the header not stripped',
    (yaml) => yaml.replace('remove: x-gateway-destination-endpoint', 'remove: x-other'),
    'fail',
    /callers can send/,
  ],
  [
    'stripped only after the picker was asked',
    (yaml) => {
      const config = parse(yaml)
      config.static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters.reverse()
      return JSON.stringify(config)
    },
    'fail',
    /callers can send/,
  ],
  ['failing open to ORIGINAL_DST', (yaml) => yaml.replace('cluster: unplaced, timeout', 'cluster: placed, timeout'), 'fail', /open proxy/],
  ['failing open to nowhere', (yaml) => yaml.replace(/ *- match: \{ prefix: \/ \}\n.*\n/, ''), 'warn', /no route is left/],
  [
    'failing open unguarded',
    (yaml) => yaml.replace('health_checks:', 'x:').replace('outlier_detection:', 'y:'),
    'warn',
    /neither health_checks nor outlier_detection/,
  ],
  ['no ext_proc', (yaml) => yaml.replace('ext_proc.v3.ExternalProcessor', 'buffer.v3.Buffer'), 'fail', /no listener has an ext_proc/],
])('found: %s', (_, change, level, sentence) => {
  const before = text('envoy.yaml')
  const after = change(before)
  expect(after).not.toBe(before)
  const told = findings(after).filter((one) => one.level !== 'ok')
  expect(told).toEqual([expect.objectContaining({ level, found: expect.stringMatching(sentence), remedy: expect.any(String) })])
})

test('an admin page’s config_dump is read like the file', () => {
  const config = parse(text('envoy.yaml'))
  const dump = {
    configs: [{ bootstrap: config }, { static_clusters: config.static_resources.clusters.map((cluster: unknown) => ({ cluster })) }],
  }
  const both = { configs: [...dump.configs, { dynamic_listeners: config.static_resources.listeners }] }
  expect(examineEnvoy({ config: both, holdLimitMs: 30_000 }).map(({ level }) => level)).toEqual(Array(6).fill('ok'))
})
