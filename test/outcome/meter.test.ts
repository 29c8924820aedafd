import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Api } from '../../plugin/call/call.ts'
import type { MeterParts } from '../../plugin/outcome/meter.ts'
import type { Outcome } from '../../plugin/outcome/outcome.ts'
import {
  anthropicStream,
  COMPLETION_STOP,
  chatChunk,
  chatStream,
  completionsStream,
  DONE,
  event,
  meterOf,
  ROLE,
  responsesStream,
  run,
  STOP,
  STREAM_HEAD,
  USAGE,
} from './streams.ts'

const STREAMS: readonly { readonly name: string; readonly api: Api; readonly text: string; readonly meter?: Partial<MeterParts> }[] = [
  { name: 'chat', api: 'openai-chat', text: [ROLE, ...chatStream, STOP, USAGE, DONE].join('') },
  {
    name: 'chat, usage stripped',
    api: 'openai-chat',
    text: [ROLE, ...chatStream, STOP, USAGE, DONE].join(''),
    meter: { stripUsage: true },
  },
  {
    name: 'chat in CRLF, usage stripped',
    api: 'openai-chat',
    text: [ROLE, ...chatStream, STOP, USAGE, DONE].join('').replaceAll('\n', '\r\n'),
    meter: { stripUsage: true },
  },
  {
    name: 'chat aborted',
    api: 'openai-chat',
    text: [ROLE, chatChunk({ content: '' }, 'abort'), USAGE, DONE].join(''),
    meter: { stripUsage: true },
  },
  { name: 'completions', api: 'openai-completions', text: [...completionsStream, COMPLETION_STOP, DONE].join('') },
  { name: 'responses', api: 'openai-responses', text: responsesStream.join('') },
  { name: 'anthropic', api: 'anthropic-messages', text: anthropicStream.join('') },
]

/** Without what depends on when bytes came. */
const timeless = ({ ttftMs: _, tpotMs: __, e2eMs: ___, ...rest }: Outcome) => rest

describe('however the bytes of a stream are split', () => {
  test.each(STREAMS)('at every single place, outcome and forwarded bytes are the same: $name', ({ api, text, meter = {} }) => {
    const bytes = Buffer.from(text)
    const whole = run(api, [bytes], { meter })
    for (let at = 1; at < bytes.length; at++) {
      const halves = run(api, [bytes.subarray(0, at), bytes.subarray(at)], { meter })
      expect(timeless(halves.outcome), `cut at ${at}`).toEqual(timeless(whole.outcome))
      expect(halves.out, `cut at ${at}`).toBe(whole.out)
    }
    if (!meter.stripUsage) expect(whole.out).toBe(text)
  })

  test.each(STREAMS)('at many places and byte by byte: $name', ({ api, text, meter = {} }) => {
    const bytes = Buffer.from(text)
    const whole = run(api, [bytes], { meter })
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 40 }), (places) => {
        const cuts = [0, ...places.sort((a, b) => a - b), bytes.length]
        const pieces = cuts.slice(1).map((to, i) => bytes.subarray(cuts[i], to))
        const cut = run(api, pieces, { meter })
        expect([cut.out, timeless(cut.outcome)]).toEqual([whole.out, timeless(whole.outcome)])
      }),
      { numRuns: 50 },
    )
    const single = run(
      api,
      Array.from(bytes, (byte) => Buffer.of(byte)),
      { meter },
    )
    expect([single.out, timeless(single.outcome)]).toEqual([whole.out, timeless(whole.outcome)])
  })

  test('first token, end and arrival keep their order (I9)', () => {
    fc.assert(
      fc.property(fc.constantFrom(...STREAMS), fc.array(fc.nat(3_000)), ({ api, text, meter = {} }, places) => {
        const bytes = Buffer.from(text)
        const cuts = [0, ...places.filter((p) => p < bytes.length).sort((a, b) => a - b), bytes.length]
        const pieces = cuts.slice(1).map((to, i) => bytes.subarray(cuts[i], to))
        const { outcome } = run(api, pieces, { meter })
        expect(outcome.ttftMs ?? 0).toBeGreaterThanOrEqual(0)
        expect(outcome.ttftMs ?? 0).toBeLessThanOrEqual(outcome.e2eMs)
        expect(outcome.tpotMs ?? 0).toBeGreaterThanOrEqual(0)
      }),
    )
  })
})

describe('times and tokens', () => {
  test('chat: TTFT at the first content, not at the role; TPOT over the tokens that usage tells', () => {
    const { outcome } = run('openai-chat', [ROLE, ...chatStream.slice(0, 3), STOP, USAGE, DONE])
    expect(outcome).toEqual({
      kind: 'completed',
      status: 200,
      ttftMs: 110,
      tpotMs: 10,
      e2eMs: 170,
      promptTokens: 12,
      cachedPromptTokens: 8,
      outputTokens: 3,
      tokensFrom: 'usage',
      censored: false,
      finishReason: 'stop',
    })
  })

  test('without usage the chunks with output are the tokens', () => {
    const { outcome } = run('openai-chat', [ROLE, ...chatStream, STOP, DONE])
    expect(outcome).toMatchObject({ outputTokens: 5, tokensFrom: 'chunks', tpotMs: 10 })
  })

  test.each([
    ['reasoning_content', { reasoning_content: 'hm' }],
    ['reasoning', { reasoning: 'hm' }],
    ['tool_calls', { tool_calls: [{ index: 0, function: { name: 'f', arguments: '' } }] }],
    ['refusal', { refusal: 'no' }],
  ])('the first token may be %s', (_, delta) => {
    expect(run('openai-chat', [ROLE, chatChunk(delta), STOP, DONE]).outcome).toMatchObject({ ttftMs: 110, outputTokens: 1 })
  })

  test('a chunk with text and finish reason in one counts as both', () => {
    expect(run('openai-chat', [chatChunk({ content: 'x' }, 'length'), DONE]).outcome).toMatchObject({
      kind: 'completed',
      outputTokens: 1,
      finishReason: 'length',
      censored: true,
    })
  })

  test('completions, responses and Anthropic tell the same of the same answer', () => {
    const told = { kind: 'completed', outputTokens: 3, tpotMs: 10 }
    expect(run('openai-completions', [...completionsStream, COMPLETION_STOP, DONE]).outcome).toMatchObject({
      ...told,
      censored: true,
      ttftMs: 100,
    })
    const usage = { promptTokens: 12, cachedPromptTokens: 8, tokensFrom: 'usage', censored: false, ttftMs: 120 }
    expect(run('openai-responses', responsesStream).outcome).toMatchObject({ ...told, ...usage, finishReason: 'completed' })
    expect(run('anthropic-messages', anthropicStream).outcome).toMatchObject({ ...told, ...usage, finishReason: 'end_turn' })
  })

  test('a last usage without the cached part does not shrink the prompt', () => {
    const last = event({ type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { input_tokens: 4, output_tokens: 7 } })
    const { outcome } = run('anthropic-messages', [...anthropicStream.slice(0, 5), last])
    expect(outcome).toMatchObject({ promptTokens: 12, outputTokens: 7 })
  })

  test('several answers in one stream: complete when each has ended, time per token of one answer', () => {
    const of = (index: number, finish: string | null = null): string =>
      event({ choices: [{ index, delta: finish ? {} : { content: 'x' }, finish_reason: finish }] })
    const pieces = [of(0), of(1), of(0), of(1), of(0), of(1), of(0, 'stop')]
    const meter = { answers: 2 }
    expect(run('openai-chat', pieces, { meter }).outcome).toMatchObject({ kind: 'instance error', error: 'cut short' })
    expect(run('openai-chat', [...pieces, of(1, 'length')], { meter }).outcome).toMatchObject({
      kind: 'completed',
      tpotMs: 25,
      censored: true,
    })
  })

  test('a whole answer in one event has no time per token', () => {
    const { outcome } = run('openai-chat', [chatChunk({ content: 'all of it' }), STOP, USAGE, DONE])
    expect(outcome).toMatchObject({ outputTokens: 3, ttftMs: 100 })
    expect(outcome.tpotMs).toBeUndefined()
  })

  test('Responses cut at the limit is a lower bound, not a length', () => {
    const incomplete = event({
      type: 'response.incomplete',
      response: { status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } },
    })
    expect(run('openai-responses', [...responsesStream.slice(0, 5), incomplete]).outcome).toMatchObject({
      kind: 'completed',
      censored: true,
      finishReason: 'max_output_tokens',
    })
  })

  test('progress is told while the stream runs', () => {
    const meter = meterOf('openai-chat')
    meter.head(STREAM_HEAD)
    meter.chunk(Buffer.from(ROLE), 1_100)
    expect([meter.firstTokenMs, meter.outputTokens]).toEqual([undefined, 0])
    for (const [i, piece] of chatStream.entries()) meter.chunk(Buffer.from(piece), 1_200 + i)
    expect([meter.firstTokenMs, meter.outputTokens]).toEqual([1_200, 5])
  })

  test('the outcome is given once (I2)', () => {
    const { meter } = run('openai-chat', [...chatStream, STOP, DONE])
    expect(() => meter.end(2_000)).toThrow('already given')
    expect(() => meter.failed({ kind: 'client gone', error: 'left' }, 2_000)).toThrow('already given')
  })
})
