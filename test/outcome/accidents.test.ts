import { describe, expect, test } from 'vitest'
import {
  anthropicStream,
  chatChunk,
  chatStream,
  DONE,
  event,
  JSON_HEAD,
  meterOf,
  ROLE,
  responsesStream,
  run,
  STOP,
  STREAM_HEAD,
  USAGE,
} from './streams.ts'

const ENGINE_DIED = event({ error: { message: 'EngineCore encountered an issue.', type: 'InternalServerError', param: null, code: 500 } })

describe('an instance that fails under HTTP 200', () => {
  test('an error event and then [DONE] is an engine error, not a completed call', () => {
    const { outcome, out } = run('openai-chat', [ROLE, ...chatStream, ENGINE_DIED, DONE])
    expect(outcome).toMatchObject({ kind: 'instance error', error: 'engine error', outputTokens: 5, censored: true })
    expect(out).toBe([ROLE, ...chatStream, ENGINE_DIED, DONE].join(''))
  })

  test('an error event before any output is known before any byte goes out', () => {
    const meter = meterOf('openai-chat')
    meter.head(STREAM_HEAD)
    expect(meter.chunk(Buffer.from(ROLE), 1_100).length).toBe(0)
    expect(meter.chunk(Buffer.from(ENGINE_DIED), 1_110).length).toBe(0)
    expect([meter.verdict, meter.failure]).toEqual(['bad', 'engine error'])
    expect(meter.release().toString()).toBe(ROLE + ENGINE_DIED)
    expect(meter.chunk(Buffer.from(DONE), 1_120).toString()).toBe(DONE)
    expect(meter.end(1_130).outcome).toMatchObject({ kind: 'instance error', error: 'engine error' })
  })

  test('finish reason "abort" with empty text is known before any byte goes out, streamed', () => {
    const meter = meterOf('openai-chat', { stripUsage: true })
    meter.head(STREAM_HEAD)
    const out = [ROLE, chatChunk({ content: '' }, 'abort'), USAGE, DONE].map((piece) => meter.chunk(Buffer.from(piece), 1_100))
    expect(Buffer.concat(out).length).toBe(0)
    expect([meter.verdict, meter.failure]).toEqual(['bad', 'aborted'])
    const { bytes, outcome } = meter.end(1_200)
    expect(bytes.toString()).toBe([ROLE, chatChunk({ content: '' }, 'abort'), DONE].join(''))
    expect(outcome).toMatchObject({ kind: 'instance error', error: 'aborted', censored: true })
  })

  test('finish reason "abort" with empty text is known before any byte goes out, not streamed', () => {
    const body = JSON.stringify({
      choices: [{ message: { content: '' }, finish_reason: 'abort' }],
      usage: { prompt_tokens: 5, completion_tokens: 0 },
    })
    const meter = meterOf('openai-chat')
    meter.head(JSON_HEAD)
    expect(meter.chunk(Buffer.from(body), 1_100).length).toBe(0)
    expect(meter.verdict).toBe('undecided')
    const { bytes, outcome } = meter.end(1_110)
    expect(outcome).toMatchObject({ kind: 'instance error', error: 'aborted' })
    expect(bytes.toString()).toBe(body)
  })

  test.each([
    ['in the middle of the text', [ROLE, ...chatStream]],
    ['in the middle of an event', [ROLE, ...chatStream, STOP.slice(0, 40)]],
    ['after the role alone', [ROLE]],
    ['with an end mark and nothing else', [DONE]],
    ['empty', []],
  ])('a stream that ends without its end is cut short: %s', (_, pieces) => {
    const { outcome, out } = run('openai-chat', pieces)
    expect(outcome).toMatchObject({ kind: 'instance error', error: 'cut short', censored: true })
    expect(out).toBe(pieces.join(''))
  })

  test('cut short before any output: nothing has gone out, so it can be tried elsewhere', () => {
    const meter = meterOf('openai-responses')
    meter.head(STREAM_HEAD)
    expect(responsesStream.slice(0, 2).map((piece) => meter.chunk(Buffer.from(piece), 1_100).length)).toEqual([0, 0])
    expect(meter.verdict).toBe('undecided')
    expect(meter.end(1_200).outcome).toMatchObject({ kind: 'instance error', error: 'cut short' })
  })

  test('an error event of Anthropic, and a failed response, are engine errors', () => {
    const overloaded = event({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }, 'error')
    expect(run('anthropic-messages', [...anthropicStream.slice(0, 4), overloaded]).outcome).toMatchObject({
      kind: 'instance error',
      error: 'engine error',
    })
    const failed = event({ type: 'response.failed', response: { status: 'failed', error: { code: 'server_error', message: 'x' } } })
    expect(run('openai-responses', [...responsesStream.slice(0, 4), failed]).outcome).toMatchObject({
      kind: 'instance error',
      error: 'engine error',
    })
  })

  test('an error event that blames the request is the call’s, and goes to the caller', () => {
    const tooLong = event({ error: { message: 'maximum context length', type: 'BadRequestError', code: 400 } })
    const { outcome, out } = run('openai-chat', [tooLong, DONE])
    expect(outcome).toMatchObject({ kind: 'completed', error: 'status 400', censored: true })
    expect(out).toBe(tooLong + DONE)
  })

  test('an error body under status 200 is an engine error', () => {
    expect(run('openai-chat', ['{"error":{"message":"x","code":500}}'], { head: JSON_HEAD }).outcome).toMatchObject({
      error: 'engine error',
    })
  })

  test('a JSON body that ends in its middle is cut short', () => {
    expect(run('openai-chat', ['{"choices":[{"mess'], { head: JSON_HEAD }).outcome).toMatchObject({
      kind: 'instance error',
      error: 'cut short',
    })
  })
})

describe('a response that will not go on', () => {
  const failure = { kind: 'instance error', error: 'reset' } as const

  test('is what the door says, with the tokens so far as a lower bound', () => {
    const meter = meterOf('openai-chat')
    meter.head(STREAM_HEAD)
    for (const piece of chatStream) meter.chunk(Buffer.from(piece), 1_100)
    expect(meter.failed(failure, 1_500)).toMatchObject({ ...failure, outputTokens: 5, tokensFrom: 'chunks', censored: true, e2eMs: 500 })
  })

  test('before any head: no status', () => {
    expect(meterOf('openai-chat').failed({ kind: 'timed out', error: 'stalled' }, 1_500)).toEqual({
      kind: 'timed out',
      error: 'stalled',
      e2eMs: 500,
      censored: true,
    })
  })

  test('a caller who hangs up at [DONE] has a completed call', () => {
    const meter = meterOf('openai-chat')
    meter.head(STREAM_HEAD)
    for (const piece of [...chatStream, STOP, DONE]) meter.chunk(Buffer.from(piece), 1_100)
    expect(meter.failed({ kind: 'client gone', error: 'left' }, 1_200)).toMatchObject({ kind: 'completed', censored: false })
  })

  test('a caller who leaves in the middle is gone', () => {
    const meter = meterOf('anthropic-messages')
    meter.head(STREAM_HEAD)
    for (const piece of anthropicStream.slice(0, 4)) meter.chunk(Buffer.from(piece), 1_100)
    expect(meter.failed({ kind: 'client gone', error: 'left' }, 1_200)).toMatchObject({
      kind: 'client gone',
      promptTokens: 12,
      outputTokens: 2,
      tokensFrom: 'chunks',
    })
  })

  test('an engine that said it died before the connection broke is the cause', () => {
    const meter = meterOf('openai-chat')
    meter.head(STREAM_HEAD)
    for (const piece of [...chatStream, ENGINE_DIED]) meter.chunk(Buffer.from(piece), 1_100)
    expect(meter.failed({ kind: 'client gone', error: 'left' }, 1_200)).toMatchObject({ kind: 'instance error', error: 'engine error' })
  })
})

describe('a status other than 2xx passes at once', () => {
  test.each([
    [400, 'completed'],
    [404, 'completed'],
    [422, 'completed'],
    [401, 'instance error'],
    [403, 'instance error'],
    [429, 'instance error'],
    [500, 'instance error'],
    [503, 'instance error'],
    [302, 'instance error'],
  ] as const)('%i is %s', (status, kind) => {
    const meter = meterOf('openai-chat')
    meter.head({ ...JSON_HEAD, status })
    const bytes = Buffer.from('{"error":{}}')
    expect(meter.verdict).toBe('good')
    expect(meter.chunk(bytes, 1_100)).toBe(bytes)
    expect(meter.end(1_200).outcome).toEqual({ kind, status, error: `status ${status}`, e2eMs: 200, censored: true })
  })
})
