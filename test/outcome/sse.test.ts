import { createRequire } from 'node:module'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EVENT_BYTES_MAX, type SseEvent, SseFramer } from '../../plugin/outcome/sse.ts'

/** undici's parser of the EventSource of Node, as the judge of what a stream says. */
const { EventSourceStream } = createRequire(import.meta.url)('undici/lib/web/eventsource/eventsource-stream.js') as {
  EventSourceStream: new (options: { push: (event: { type: string; options: { data: string } }) => boolean }) => NodeJS.WritableStream
}

interface Said {
  readonly name: string
  readonly data: string
}

function byUndici(bytes: Buffer): Said[] {
  const said: Said[] = []
  const stream = new EventSourceStream({
    push: ({ type, options }) => said.push({ name: type === 'message' ? '' : type, data: options.data }) > 0,
  })
  stream.write(bytes)
  return said
}

function cut(chunks: readonly Buffer[]): SseEvent[] {
  const events: SseEvent[] = []
  const framer = new SseFramer((event) => events.push(event))
  for (const chunk of chunks) framer.push(chunk)
  framer.end()
  return events
}

const saidBy = (events: readonly SseEvent[]): Said[] =>
  events.flatMap(({ name, data }) => (data === undefined ? [] : [{ name: utf8(name), data: utf8(data) }]))
const utf8 = (latin1: string): string => Buffer.from(latin1, 'latin1').toString('utf8')
const rawOf = (events: readonly SseEvent[]): Buffer => Buffer.concat(events.map((event) => event.raw))

const lineEnd = fc.constantFrom('\n', '\r\n', '\r')
const word = fc.constantFrom('a', ' b', 'é', '漢🙂', '{"x":"\\n"}', ':', 'data', '')
const line = fc.oneof(
  { weight: 4, arbitrary: word.map((text) => `data:${text}`) },
  word.map((text) => `data: ${text}`),
  fc.constantFrom('data', 'event: e', 'event:f', ': comment', ':', 'id: 1', 'retry: 5', 'database: x', 'nonsense', ' data: x'),
)
/** Ends with a blank line: what stands at the end without one is where we differ, on purpose. */
const stream = fc
  .tuple(fc.boolean(), fc.array(fc.tuple(fc.array(fc.tuple(line, lineEnd), { maxLength: 4 }), lineEnd)))
  .map(
    ([mark, events]) =>
      `${(mark ? '\ufeff' : '') + events.map(([lines, end]) => lines.map(([text, eol]) => text + eol).join('') + end).join('')}\n\n`,
  )

/** The bytes cut at the given places (taken modulo the length). */
function split(bytes: Buffer, places: readonly number[]): Buffer[] {
  const cuts = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b)
  return [0, ...cuts].map((from, i) => bytes.subarray(from, cuts[i] ?? bytes.length))
}

describe('events cut from a byte stream', () => {
  test('say what the EventSource parser of undici says, however the bytes are split', () => {
    fc.assert(
      fc.property(stream, fc.array(fc.nat()), (text, places) => {
        const bytes = Buffer.from(text)
        expect(saidBy(cut(split(bytes, places)))).toEqual(byUndici(bytes))
      }),
      { numRuns: 1000 },
    )
  })

  test('give out exactly the bytes put in', () => {
    fc.assert(
      fc.property(fc.oneof(stream, fc.string({ unit: 'binary' })), fc.array(fc.nat()), (text, places) => {
        const bytes = Buffer.from(text)
        expect(rawOf(cut(split(bytes, places)))).toEqual(bytes)
      }),
      { numRuns: 500 },
    )
  })

  test('a chunk that is one event is given out as the same buffer', () => {
    const chunk = Buffer.from('data: x\r\n\r\n')
    expect(cut([chunk])[0]?.raw).toBe(chunk)
  })

  test('an event at the end without a blank line is an event', () => {
    expect(saidBy(cut([Buffer.from('data: a\n\ndata: [DONE]')]))).toEqual([
      { name: '', data: 'a' },
      { name: '', data: '[DONE]' },
    ])
  })

  test('the place of the data is told where it is one piece of the event', () => {
    const [named, several, crlf] = cut([Buffer.from('event: e\ndata: abc\n\ndata: a\ndata: b\n\ndata:c\r\n\r\n')])
    expect(named?.raw.toString('latin1', named.dataAt, named.dataAt + 3)).toBe('abc')
    expect([several?.dataAt, crlf?.dataAt]).toEqual([-1, -1])
  })

  test('an over-long event passes unread in pieces, is counted, and the next one is read again', () => {
    const long = Buffer.from(`data: ${'x'.repeat(EVENT_BYTES_MAX + 200_000)}\n\n`)
    const bytes = Buffer.concat([long, Buffer.from('data: y\n\n')])
    const events: SseEvent[] = []
    const framer = new SseFramer((event) => events.push(event))
    for (let at = 0; at < bytes.length; at += 65_536) {
      framer.push(bytes.subarray(at, at + 65_536))
      expect(framer.pendingBytes).toBeLessThanOrEqual(EVENT_BYTES_MAX)
    }
    expect(framer.overlong).toBe(1)
    expect(saidBy(events)).toEqual([{ name: '', data: 'y' }])
    expect(rawOf(events).equals(bytes)).toBe(true)
  })
})
