import { describe, expect, test } from 'vitest'
import { HOLD_BYTES_MAX } from '../../plugin/outcome/path.ts'
import { EVENT_BYTES_MAX } from '../../plugin/outcome/sse.ts'
import { chatChunk, chatStream, DONE, event, JSON_HEAD, meterOf, ROLE, run, STOP, STREAM_HEAD, USAGE } from './streams.ts'

describe('bytes', () => {
  test('an ordinary chunk goes out as the same buffer, stripped or not', () => {
    for (const stripUsage of [false, true]) {
      const meter = meterOf('openai-chat', { stripUsage })
      meter.head(STREAM_HEAD)
      for (const piece of [...chatStream, `${STOP}${DONE}`]) {
        const bytes = Buffer.from(piece)
        expect(meter.chunk(bytes, 1_100)).toBe(bytes)
      }
    }
  })

  test('what was asked in is taken out: the usage chunk, and null usage in the others', () => {
    const withNull = (chunk: string): string => chunk.replace(/\}\n\n$/, ',"usage":null}\n\n')
    const asked = [...[ROLE, ...chatStream, STOP].map(withNull), USAGE, DONE]
    const plain = [ROLE, ...chatStream, STOP, DONE].join('')
    const { out, outcome } = run('openai-chat', asked, { meter: { stripUsage: true } })
    expect(out).toBe(plain)
    expect(outcome).toMatchObject({ outputTokens: 3, promptTokens: 12 })
    expect(run('openai-chat', [asked.join('')], { meter: { stripUsage: true } }).out).toBe(plain)
  })

  test.each([
    ['{"a":1, "usage": null, "choices":[{"delta":{"content":"x"}}]}', '{"a":1, "choices":[{"delta":{"content":"x"}}]}'],
    ['{"usage":null, "choices":[{"delta":{"content":"x"}}]}', '{"choices":[{"delta":{"content":"x"}}]}'],
    ['{"choices":[{"delta":{"content":"x"},"usage":null}]}', '{"choices":[{"delta":{"content":"x"},"usage":null}]}'],
  ])('null usage goes with its comma wherever it stands at the top: %s', (before, after) => {
    expect(run('openai-chat', [event(before)], { meter: { stripUsage: true } }).out).toBe(event(after))
  })

  test('usage that comes beside choices was not asked in, and stays', () => {
    const last = chatChunk({}, 'stop', { usage: { prompt_tokens: 1, completion_tokens: 2 } })
    const { out, outcome } = run('openai-chat', [...chatStream, last, DONE], { meter: { stripUsage: true } })
    expect(out).toBe([...chatStream, last, DONE].join(''))
    expect(outcome.outputTokens).toBe(2)
  })

  test('events that are no JSON, comments and pings pass, and end the wait', () => {
    const meter = meterOf('openai-chat', { stripUsage: true })
    meter.head(STREAM_HEAD)
    const pieces = [': keep-alive\n\n', 'data: {"usage": \\u0"\n\n', 'data: hello\n\n']
    expect(pieces.map((piece) => meter.chunk(Buffer.from(piece), 1_100).toString())).toEqual(pieces)
    expect(meter.verdict).toBe('good')
  })

  test('an encoded stream passes untouched and is timed only', () => {
    const bytes = Buffer.from([0x1f, 0x8b, 8, 0])
    const meter = meterOf('openai-chat', { stripUsage: true })
    meter.head({ ...STREAM_HEAD, contentEncoding: 'gzip' })
    expect(meter.chunk(bytes, 1_100)).toBe(bytes)
    expect(meter.end(1_200).outcome).toEqual({ kind: 'completed', status: 200, e2eMs: 200, censored: false })
  })

  test('an over-long event passes, is counted, and the rest is metered', () => {
    const long = chatChunk({ content: 'x'.repeat(EVENT_BYTES_MAX + 200_000) })
    const bytes = Buffer.from([long, ...chatStream, STOP, USAGE, DONE].join(''))
    const pieces = Array.from({ length: Math.ceil(bytes.length / 16_384) }, (_, i) => bytes.subarray(i * 16_384, (i + 1) * 16_384))
    const { out, outcome, meter } = run('openai-chat', pieces, { meter: { stripUsage: true } })
    expect(out === [long, ...chatStream, STOP, DONE].join('')).toBe(true)
    expect(meter.overlongEvents).toBe(1)
    expect(outcome).toMatchObject({ kind: 'completed', outputTokens: 3 })
  })

  test('what is held for the verdict is bounded', () => {
    const meter = meterOf('openai-responses')
    meter.head(STREAM_HEAD)
    const opening = Buffer.from(event({ type: 'response.created', response: { instructions: 'x'.repeat(HOLD_BYTES_MAX) } }))
    expect(meter.chunk(opening, 1_100)).toBe(opening)
    expect(meter.verdict).toBe('good')
  })
})

describe('an answer that is not streamed', () => {
  const answers = {
    'openai-chat': { choices: [{ message: { content: 'x' }, finish_reason: 'stop' }], usage: { prompt_tokens: 12, completion_tokens: 3 } },
    'openai-completions': { choices: [{ text: 'x', finish_reason: 'stop' }], usage: { prompt_tokens: 12, completion_tokens: 3 } },
    'openai-responses': { status: 'completed', error: null, usage: { input_tokens: 12, output_tokens: 3 } },
    'anthropic-messages': {
      type: 'message',
      stop_reason: 'end_turn',
      usage: { input_tokens: 4, cache_creation_input_tokens: 8, output_tokens: 3 },
    },
  } as const

  test.each(Object.keys(answers) as (keyof typeof answers)[])('tells its tokens, and no times but the whole: %s', (api) => {
    const body = JSON.stringify(answers[api])
    const { out, outcome } = run(api, [body.slice(0, 20), body.slice(20)], { head: JSON_HEAD })
    expect(out).toBe(body)
    expect(outcome).toMatchObject({
      kind: 'completed',
      promptTokens: 12,
      outputTokens: 3,
      tokensFrom: 'usage',
      censored: false,
      e2eMs: 120,
    })
    expect([outcome.ttftMs, outcome.tpotMs]).toEqual([undefined, undefined])
  })

  test('an answer beyond the bound flows, and its usage is read from its last bytes', () => {
    const choices = [{ message: { content: `"usage" ${'x'.repeat(HOLD_BYTES_MAX * 2)}` }, finish_reason: 'length', stop_reason: null }]
    const body = JSON.stringify({
      choices,
      usage: { prompt_tokens: 12, completion_tokens: 3, prompt_tokens_details: { cached_tokens: 8 } },
    })
    const pieces = Array.from({ length: Math.ceil(body.length / 10_000) }, (_, i) => body.slice(i * 10_000, (i + 1) * 10_000))
    const { out, outcome } = run('openai-chat', pieces, { head: JSON_HEAD })
    expect(out === body).toBe(true)
    expect(outcome).toMatchObject({
      kind: 'completed',
      promptTokens: 12,
      cachedPromptTokens: 8,
      outputTokens: 3,
      censored: true,
      finishReason: 'length',
    })
    expect(run('openai-chat', pieces.slice(0, -1), { head: JSON_HEAD }).outcome).toMatchObject({ error: 'cut short' })
  })

  test('embeddings are never held', () => {
    const body = Buffer.from(JSON.stringify({ data: [{ embedding: [0.1] }], usage: { prompt_tokens: 5, total_tokens: 5 } }))
    const meter = meterOf('openai-embeddings')
    meter.head(JSON_HEAD)
    expect(meter.chunk(body, 1_100)).toBe(body)
    const { bytes, outcome } = meter.end(1_200)
    expect(bytes.length).toBe(0)
    expect(outcome).toMatchObject({ kind: 'completed', promptTokens: 5 })
  })
})
