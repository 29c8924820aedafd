import { afterEach, expect, test } from 'vitest'
import { HOLD_RULE_DEFAULTS } from '../../plugin/hold/hold-rules.ts'
import { answerStream, chat, EVENTS, endAll, errorIn, post, startProxy, startUpstream } from './setup.ts'

afterEach(endAll)

const nextTurn = (): Promise<void> => new Promise((done) => setImmediate(done))
/** One call waits at the instance at a time; the next is held. */
const hold = { when: 'always', rule: { ...HOLD_RULE_DEFAULTS, waitingMax: 0 } } as const

/** An instance that answers when it is told to. */
async function startSlow() {
  const answers: (() => void)[] = []
  const upstream = await startUpstream((response, request, body) => void answers.push(() => answerStream(response, request, body)))
  return { upstream, answers }
}

test('a held call reaches the instance when the one before it is answered, and its caller notices only the wait', async () => {
  const { upstream, answers } = await startSlow()
  const setup = await startProxy([upstream.url], { pool: { hold } })
  const first = post(setup, '/v1/chat/completions', chat({ stream: true }))
  while (answers.length < 1) await nextTurn()
  const second = post(setup, '/v1/chat/completions', chat({ stream: true }))
  while (setup.router.holds()[0]?.held !== 1) await nextTurn()
  expect(upstream.seen).toHaveLength(1)
  answers[0]!()
  expect(await (await first).text()).toBe(EVENTS.join(''))
  while (answers.length < 2) await nextTurn()
  answers[1]!()
  expect(await (await second).text()).toBe(EVENTS.join(''))
  const rows = await setup.settled(2)
  expect(rows[0]?.decision.heldMs).toBe(0)
  expect(rows[1]?.decision.heldMs).toBeGreaterThan(0)
  expect(rows[1]?.outcome.e2eMs).toBeGreaterThan(rows[1]!.decision.heldMs)
})

test('a caller who leaves while held frees the seat; the instance never hears of the call', async () => {
  const { upstream, answers } = await startSlow()
  const setup = await startProxy([upstream.url], { pool: { hold } })
  const first = post(setup, '/v1/chat/completions', chat({ stream: true }))
  while (answers.length < 1) await nextTurn()
  const leaving = new AbortController()
  const second = post(setup, '/v1/chat/completions', chat({ stream: true }), { signal: leaving.signal })
  while (setup.router.holds()[0]?.held !== 1) await nextTurn()
  leaving.abort()
  await expect(second).rejects.toThrow()
  const [row] = await setup.settled(1)
  expect(row).toMatchObject({ outcome: { kind: 'client gone' }, attempts: [] })
  expect(setup.router.holds()[0]?.held).toBe(0)
  answers[0]!()
  await first
  expect(upstream.seen).toHaveLength(1)
})

test('a router that goes away answers whom it holds with 503 and when to come back', async () => {
  const { upstream, answers } = await startSlow()
  const setup = await startProxy([upstream.url], { pool: { hold } })
  const first = post(setup, '/v1/chat/completions', chat({ stream: true }))
  while (answers.length < 1) await nextTurn()
  const second = post(setup, '/v1/chat/completions', chat({ stream: true }))
  while (setup.router.holds()[0]?.held !== 1) await nextTurn()
  setup.router.shed()
  const reply = await second
  expect([reply.status, reply.headers.get('retry-after')]).toEqual([503, '1'])
  expect((await errorIn(reply)).message).toContain('shutting down')
  answers[0]!()
  await first
})

test('an engine that orders by priority gets the field beside the usage option, the rest byte for byte', async () => {
  const upstream = await startUpstream(answerStream)
  const setup = await startProxy([upstream.url], { pool: { enginePriority: true } })
  const body = `{"stream":true,"model":"m","priority":7,"messages":[{"role":"user","content":"\\u0048i"}]}`
  await (await post(setup, '/v1/chat/completions', body)).text()
  const sent =
    /^\{"stream_options":\{"include_usage":true\},"stream":true,"model":"m","priority":(-?\d+),"messages":\[\{"role":"user","content":"\\u0048i"\}\]\}$/
  expect(upstream.seen[0]?.body).toMatch(sent)
  expect(sent.exec(upstream.seen[0]!.body)?.[1]).not.toBe('7')
  await (await post(setup, '/v1/chat/completions', chat({ stream: true }))).text()
  expect(Number.isSafeInteger(JSON.parse(upstream.seen[1]!.body).priority)).toBe(true)
})
