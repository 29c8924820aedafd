import { execFileSync } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { request as httpRequest, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { createPickerBench, type PickerBench } from '../../fakes/picker.ts'
import { freePorts } from '../processes.ts'
import { type RunningEnvoy, startEnvoy } from './envoy.ts'
import { answerJson, type ScriptedInstances, startInstances } from './instances.ts'

const open: { instances: ScriptedInstances; bench: PickerBench; envoy: RunningEnvoy }[] = []
afterEach(async () => {
  for (const { instances, bench, envoy } of open.splice(0)) {
    await envoy.stop()
    await bench.picker.close(0)
    await instances.close()
  }
})

const STREAMS = 5_000
const ROUNDS = 4
const token = (round: number): string => `data: {"choices":[{"index":0,"delta":{"content":"${round}"}}]}\n\n`
const LAST = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

/** Opens a stream and resolves with all that came of it. */
function listen(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      `${url}/v1/chat/completions`,
      { method: 'POST', agent: false, headers: { 'content-type': 'application/json' } },
      (response) => {
        let text = ''
        response.setEncoding('latin1')
        response.on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () => resolve(`${response.statusCode} ${text}`))
        response.on('error', reject)
      },
    )
    request.on('error', reject)
    request.end('{"model":"m","stream":true,"messages":[]}')
  })
}

test('5,000 streams are open at once, each gets a token a second, and each is logged to its end', async () => {
  const instances = await startInstances(3)
  const bench = await createPickerBench({ urls: instances.urls, pool: { policy: 'round-robin' } })
  const [listenPort = 0, adminPort = 0] = await freePorts(2)
  const envoy = await startEnvoy({ pickerPort: bench.picker.port, listenPort, adminPort })
  open.push({ instances, bench, envoy })
  const streams: ServerResponse[] = []
  const all = Promise.withResolvers<void>()
  instances.answer = (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(token(0))
    if (streams.push(response) === STREAMS) all.resolve()
  }
  const got: Promise<string>[] = []
  // In portions, so that no listen queue on the way runs over.
  for (let i = 0; i < STREAMS; i += 250) {
    got.push(...Array.from({ length: 250 }, () => listen(envoy.url)))
    while (streams.length < i + 250) await new Promise((resolve) => setTimeout(resolve, 10))
  }
  await all.promise
  expect(bench.fleet.rows(0).reduce((sum, { inFlight }) => sum + inFlight, 0)).toBe(STREAMS)
  for (let round = 1; round <= ROUNDS; round++) {
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    for (const stream of streams) stream.write(token(round))
  }
  for (const stream of streams) stream.end(LAST)
  const texts = new Set(await Promise.all(got))
  expect([...texts]).toEqual([`200 ${Array.from({ length: ROUNDS + 1 }, (_, round) => token(round)).join('')}${LAST}`])
  const rows = await bench.settled(STREAMS)
  expect(new Set(rows.map(({ outcome }) => `${outcome.kind} ${outcome.outputTokens}`))).toEqual(new Set([`completed ${ROUNDS + 1}`]))
  expect(bench.fleet.rows(0).every(({ inFlight }) => inFlight === 0)).toBe(true)
})

/** An authority, and certificates of the picker and of Envoy, by openssl. */
function makeCertificates(): (name: string) => string {
  const folder = mkdtempSync(join(tmpdir(), 'phasewise-tls-'))
  const run = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  run('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.crt', '-subj', '/CN=ca')
  for (const name of ['server', 'client'])
    run(
      'req',
      '-x509',
      ...key,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.crt`,
      '-subj',
      `/CN=${name}`,
      '-CA',
      'ca.crt',
      '-CAkey',
      'ca.key',
    )
  return (name) => join(folder, name)
}

test('Envoy asks over mutual TLS as envoy-mtls.yaml has it, and fails closed when the picker is away', async () => {
  const at = makeCertificates()
  const instances = await startInstances(3)
  instances.answer = answerJson
  const tls = { certFile: at('server.crt'), keyFile: at('server.key'), caFile: at('ca.crt') }
  const bench = await createPickerBench({ urls: instances.urls, parts: { tls } })
  const [listenPort = 0, adminPort = 0] = await freePorts(2)
  const envoy = await startEnvoy({
    file: 'envoy-mtls.yaml',
    pickerPort: bench.picker.port,
    listenPort,
    adminPort,
    change: (config) => {
      const text = JSON.stringify(config.static_resources.clusters).replaceAll('/etc/envoy/phasewise/', `${at('.')}/`)
      config.static_resources.clusters = JSON.parse(text)
    },
  })
  open.push({ instances, bench, envoy })
  const ask = (): Promise<Response> => fetch(`${envoy.url}/v1/chat/completions`, { method: 'POST', body: '{"model":"m","messages":[]}' })
  const placed = await ask()
  expect([placed.status, placed.headers.get('x-instance')]).toEqual([200, expect.stringMatching(/[123]/)])
  await bench.picker.close(0)
  expect((await ask()).status).toBe(500)
})
