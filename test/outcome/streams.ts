import type { Api } from '../../plugin/call/call.ts'
import { createMeter, type MeterParts, type ResponseHead, type StreamMeter } from '../../plugin/outcome/meter.ts'
import type { Outcome } from '../../plugin/outcome/outcome.ts'

/** Streams and bodies as real servers write them. */

export const event = (data: unknown, name?: string): string =>
  `${name === undefined ? '' : `event: ${name}\n`}data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`

export const chatChunk = (delta: object, finish: string | null = null, more: object = {}): string =>
  event({
    id: 'chatcmpl-1',
    object: 'chat.completion.chunk',
    created: 1,
    model: 'm',
    choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }],
    ...more,
  })

export const ROLE = chatChunk({ role: 'assistant', content: '' })
export const DONE = event('[DONE]')
export const USAGE = event({
  id: 'chatcmpl-1',
  object: 'chat.completion.chunk',
  created: 1,
  model: 'm',
  choices: [],
  usage: { prompt_tokens: 12, total_tokens: 15, completion_tokens: 3, prompt_tokens_details: { cached_tokens: 8 } },
})

/** Five content events whose text has UTF-8 of two, three and four bytes, escapes, and words that look like structure. */
export const WORDS = ['Hé', 'llo 漢', '🙂"', ' "finish_reason":"stop" ,"usage":null [DONE]', '\n\ndata: x']

export const chatStream = WORDS.map((content) => chatChunk({ content }))
export const STOP = chatChunk({}, 'stop')

export const responsesStream = [
  event({ type: 'response.created', response: { id: 'r', status: 'in_progress', error: null } }, 'response.created'),
  event({ type: 'response.output_item.added', item: {} }, 'response.output_item.added'),
  ...['a', 'b', 'c'].map((delta) => event({ type: 'response.output_text.delta', delta }, 'response.output_text.delta')),
  event({ type: 'response.output_text.done', text: 'abc' }, 'response.output_text.done'),
  event(
    {
      type: 'response.completed',
      response: {
        status: 'completed',
        error: null,
        usage: { input_tokens: 12, output_tokens: 3, input_tokens_details: { cached_tokens: 8 } },
      },
    },
    'response.completed',
  ),
]

export const anthropicStream = [
  event(
    { type: 'message_start', message: { id: 'msg', usage: { input_tokens: 4, cache_read_input_tokens: 8, output_tokens: 1 } } },
    'message_start',
  ),
  event({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }, 'content_block_start'),
  ...['a', 'b', 'c'].map((text) =>
    event({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } }, 'content_block_delta'),
  ),
  event({ type: 'content_block_stop', index: 0 }, 'content_block_stop'),
  event({ type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 3 } }, 'message_delta'),
  event({ type: 'message_stop' }, 'message_stop'),
]

export const completionsStream = ['a', 'b', 'c'].map((text) =>
  event({ object: 'text_completion', choices: [{ index: 0, text, finish_reason: null }] }),
)
export const COMPLETION_STOP = event({ object: 'text_completion', choices: [{ index: 0, text: '', finish_reason: 'length' }] })

export const STREAM_HEAD: ResponseHead = { status: 200, contentType: 'text/event-stream; charset=utf-8' }
export const JSON_HEAD: ResponseHead = { status: 200, contentType: 'application/json' }

/** A meter for a call that arrived at 1,000 ms. */
export function meterOf(api: Api, more: Partial<MeterParts> = {}): StreamMeter {
  return createMeter({ api, answers: 1, stripUsage: false, arrivedMs: 1_000, ...more })
}

/** Feeds pieces to a fresh meter, 10 ms apart from 1,100 ms on, and ends it 10 ms after the last. */
export function run(
  api: Api,
  pieces: readonly (string | Buffer)[],
  more: { readonly head?: ResponseHead; readonly meter?: Partial<MeterParts> } = {},
): { readonly out: string; readonly outcome: Outcome; readonly meter: StreamMeter } {
  const meter = meterOf(api, more.meter)
  meter.head(more.head ?? STREAM_HEAD)
  const out = pieces.map((piece, i) => meter.chunk(Buffer.from(piece), 1_100 + 10 * i))
  const end = meter.end(1_100 + 10 * pieces.length)
  return { out: Buffer.concat([...out, end.bytes]).toString('utf8'), outcome: end.outcome, meter }
}
