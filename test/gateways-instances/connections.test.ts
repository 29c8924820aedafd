import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { request } from 'undici'
import { expect, test } from 'vitest'
import { createConnections, type DesiredInstance } from '../../plugin/gateways/instances/connections.ts'
import { makeCertificate } from '../certificate.ts'
import { serve } from './servers.ts'

const instance = (url: string, more: Partial<DesiredInstance> = {}): DesiredInstance => ({ name: url, url, weight: 1, speed: 1, ...more })

function connect() {
  const problems: string[] = []
  return { problems, connections: createConnections({ connectTimeoutMs: 1_000, onProblem: (problem) => problems.push(problem) }) }
}

test('calls one after another share connections, and each instance gets its own key', async () => {
  const server = await serve((_, response) => response.end('ok'))
  const { connections } = connect()
  connections.configure('p', [instance(server.url, { apiKey: 'secret' }), instance('http://127.0.0.1:1')])
  for (let i = 0; i < 20; i++) {
    const { body } = await request(server.url, { dispatcher: connections.dispatcherFor(server.url) })
    expect(await body.text()).toBe('ok')
  }
  // The second one where a call starts in the very moment the call before it ends.
  expect(server.sockets()).toBeLessThanOrEqual(2)
  expect(connections.authorization(server.url)).toBe('Bearer secret')
  expect(connections.authorization('http://127.0.0.1:1')).toBeUndefined()
  expect(() => connections.dispatcherFor('http://elsewhere')).toThrow('no instance is configured at http://elsewhere')
  await connections.close(0)
  await server.close()
})

test('a call that runs while its instance is removed ends well', async () => {
  let finish = (): void => undefined
  const server = await serve((_, response) => {
    response.write('half ')
    finish = () => response.end('whole')
  })
  const { connections } = connect()
  connections.configure('p', [instance(server.url)])
  const { body } = await request(server.url, { dispatcher: connections.dispatcherFor(server.url) })
  connections.configure('p', [])
  expect(() => connections.dispatcherFor(server.url)).toThrow()
  finish()
  expect(await body.text()).toBe('half whole')
  await connections.close(5_000)
  await server.close()
})

test('a new key is used without new connections; another owner keeps an instance alive', async () => {
  const server = await serve((_, response) => response.end())
  const { connections } = connect()
  connections.configure('p', [instance(server.url, { apiKey: 'old' })])
  const before = connections.dispatcherFor(server.url)
  connections.configure('p', [instance(server.url, { apiKey: 'new' })])
  expect(connections.authorization(server.url)).toBe('Bearer new')
  connections.configure('q', [instance(server.url)])
  connections.configure('p', [])
  expect(connections.dispatcherFor(server.url)).toBe(before)
  await connections.close(0)
  await server.close()
})

test('closing cuts a call that outlives its grace', async () => {
  const server = await serve((_, response) => void response.write('never ends'))
  const { connections } = connect()
  connections.configure('p', [instance(server.url)])
  const { body } = await request(server.url, { dispatcher: connections.dispatcherFor(server.url) })
  const text = body.text().catch((error: Error) => error)
  await connections.close(10)
  expect(await text).toBeInstanceOf(Error)
  await server.close()
})

test('an authority file that is not there is told by name, with what happens now', async () => {
  const { connections, problems } = connect()
  connections.configure('p', [instance('https://127.0.0.1:1', { name: 'gpu-1', caFile: 'no-such.pem' })])
  expect(problems).toHaveLength(1)
  expect(problems[0]).toMatch(/gpu-1.*no-such\.pem.*system's authorities/)
  await connections.close(0)
})

test('TLS: an instance with a certificate of its own authority is reached with its caFile, by no other and under no other name', async () => {
  const { key, cert, files } = await makeCertificate('engine.test')
  const server = createServer({ key, cert }, (_, response) => response.end('ok'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  const caFile = files.certFile
  const { connections } = connect()
  const ask = () => request(url, { dispatcher: connections.dispatcherFor(url) })
  connections.configure('p', [instance(url, { caFile, serverName: 'engine.test' })])
  expect(await (await ask()).body.text()).toBe('ok')
  connections.configure('p', [instance(url, { caFile })])
  await expect(ask()).rejects.toThrow(/altnames/i)
  connections.configure('p', [instance(url, { serverName: 'engine.test' })])
  await expect(ask()).rejects.toThrow(/self-signed|certificate/i)
  await connections.close(0)
  await new Promise((resolve) => server.close(resolve))
})
