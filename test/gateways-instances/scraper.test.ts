import type { ServerResponse } from 'node:http'
import { expect, test } from 'vitest'
import { systemClock } from '../../plugin/clock.ts'
import { createConnections } from '../../plugin/gateways/instances/connections.ts'
import { createScraper, restMs, type ScrapeFailure } from '../../plugin/gateways/instances/scraper.ts'
import { type LocalServer, record, serve } from './servers.ts'

interface Target {
  readonly url: string
}

function scrape(servers: readonly { readonly url: string }[], options: { intervalMs?: number; timeoutMs?: number; apiKey?: string } = {}) {
  const connections = createConnections({ connectTimeoutMs: 500, onProblem: () => undefined })
  connections.configure(
    'p',
    servers.map(({ url }) => ({
      name: url,
      url,
      weight: 1,
      speed: 1,
      ...(options.apiKey === undefined ? {} : { apiKey: options.apiKey }),
    })),
  )
  const texts = record<{ target: Target; mark: number; text: string; nowMs: number }>()
  const failures = record<ScrapeFailure>()
  let marks = 0
  const scraper = createScraper<Target, number>({
    intervalMs: options.intervalMs ?? 5,
    timeoutMs: options.timeoutMs ?? 5_000,
    nowMs: systemClock.nowMs,
    random: () => 0.5,
    connections,
    begin: () => ++marks,
    onText: (target, mark, text, nowMs) => texts.push({ target, mark, text, nowMs }),
    onFailure: (_, failure) => failures.push(failure),
  })
  const targets = servers.map(({ url }) => ({ url }))
  scraper.track(targets)
  return {
    scraper,
    targets,
    texts,
    failures,
    async end(...open: LocalServer[]) {
      await scraper.close()
      await connections.close(0)
      await Promise.all(open.map((one) => one.close()))
    },
  }
}

test('each instance is asked again and again, with its own key, and the mark comes back with its answer', async () => {
  const keys = new Set<string | undefined>()
  const server = await serve((request, response) => {
    keys.add(request.headers.authorization)
    response.end(request.url)
  })
  const run = scrape([server], { apiKey: 'k' })
  const all = await run.texts.until((texts) => texts.length >= 3)
  expect(all.slice(0, 3)).toMatchObject([1, 2, 3].map((mark) => ({ mark, text: '/metrics', target: { url: server.url } })))
  expect([...keys]).toEqual(['Bearer k'])
  expect(server.sockets()).toBe(1)
  await run.end(server)
})

test('a slow instance is never asked twice at once, and does not keep the others waiting', async () => {
  const held: ServerResponse[] = []
  let open = 0
  let most = 0
  const slow = await serve((_, response) => {
    most = Math.max(most, ++open)
    held.push(response)
  })
  const fast = await serve((_, response) => response.end('fast'))
  const run = scrape([slow, fast])
  for (let round = 1; round <= 2; round++) {
    await run.texts.until((texts) => held.length === 1 && texts.filter(({ text }) => text === 'fast').length >= 5 * round)
    open--
    held.pop()?.end('slow')
    await run.texts.until((texts) => texts.filter(({ text }) => text === 'slow').length >= round)
  }
  expect(most).toBe(1)
  await run.end(slow, fast)
})

test('nobody listening is a connect failure; a status, a broken body and a late answer are others', async () => {
  const gone = await serve((_, response) => response.end())
  await gone.close()
  const none = scrape([gone])
  expect((await none.failures.until((all) => all.length >= 2))[0]).toMatchObject({ kind: 'connect' })
  await none.end()

  let times = 0
  const ill = await serve((_, response) => {
    times++
    if (times === 1) response.writeHead(404).end('no metrics here')
    else if (times === 2) {
      response.writeHead(200, { 'content-length': 100 }).write('half')
      response.destroy()
    }
    // The third one is never answered.
  })
  const run = scrape([ill], { timeoutMs: 100 })
  const failures = await run.failures.until((all) => all.length >= 3)
  expect(failures.map(({ kind }) => kind)).toEqual(['other', 'other', 'other'])
  expect(failures[0]?.message).toBe('/metrics answered 404')
  expect(run.texts.all).toEqual([])
  await run.end(ill)
})

test('an instance that is not tracked any more is left alone, and close waits for what is under way', async () => {
  let asked = 0
  const server = await serve(() => {
    asked++
  })
  const other = await serve((_, response) => response.end('x'))
  const run = scrape([server, other])
  await run.texts.until((texts) => asked === 1 && texts.length >= 2)
  run.scraper.track(run.targets.slice(1))
  const before = run.texts.all.length
  await run.texts.until((texts) => texts.length >= before + 3)
  expect(asked).toBe(1)
  await run.scraper.close()
  const after = run.texts.all.length
  await run.end(server, other)
  expect(run.texts.all.length).toBe(after)
})

test('scraping takes at most a tenth of a slow instance’s time, and never pauses for long', () => {
  expect(restMs({ tookMs: 1, intervalMs: 250 })).toBe(249)
  expect(restMs({ tookMs: 20, intervalMs: 250 })).toBe(230)
  expect(restMs({ tookMs: 100, intervalMs: 250 })).toBe(900)
  expect(restMs({ tookMs: 1_000, intervalMs: 250 })).toBe(2_000)
})
