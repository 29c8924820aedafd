import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CHUNK_BYTES, Conversation, type ResponseMeter, type Verdict } from '../../../plugin/gateways/envoy/conversation.ts'
import type { FromEnvoy, HeaderBag, ToEnvoy } from '../../../plugin/gateways/envoy/messages.ts'

const GO: Verdict = { kind: 'go', destination: { endpoints: '10.0.0.1:8000' }, setHeaders: [] }
const DUPLEX = { requestBodyMode: 4, responseBodyMode: 4 }

/** Says what comes out as short words: `>head`, `>body 3 end`, `<trailers`. */
function told(messages: readonly ToEnvoy[]): string[] {
  return messages.map((message) => {
    if (message.kind === 'immediate') return `refused ${message.status}`
    const arrow = message.side === 'request' ? '>' : '<'
    if (message.kind !== 'body') return `${arrow}${message.kind === 'headers' ? 'head' : message.kind}`
    return `${arrow}body ${message.body.length}${message.endOfStream ? ' end' : ''}`
  })
}

/** Understands `>head`, `>head end`, `>body 12 end`, `>trailers`, `<…`; `<sse` and `<json` are response heads. */
function fromWords(words: string): FromEnvoy {
  const side = words.startsWith('>') ? 'request' : 'response'
  const [kind = '', ...rest] = words.slice(1).split(' ')
  const endOfStream = rest.includes('end')
  if (kind === 'body') return { kind, side, body: Buffer.alloc(Number(rest[0]), 'x'), endOfStream }
  if (kind === 'trailers') return { kind, side }
  const types: Record<string, HeaderBag> = {
    sse: { 'content-type': 'text/event-stream' },
    json: { 'content-type': 'application/json' },
    gzip: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
  }
  return { kind: 'headers', side, headers: types[kind] ?? {}, endOfStream, metadata: undefined, protocol: DUPLEX }
}

interface Scripted {
  readonly verdict?: Verdict
  /** The verdict comes only after this many further messages. */
  readonly late?: number
  readonly modes?: readonly [number, number]
}

/** Plays the words, answers placements, and gives all that was said, with `place N` where a call was to be placed. */
function play(script: readonly string[], options: Scripted = {}): string[] {
  const log: string[] = []
  const end = (): Buffer => {
    log.push('metered')
    return Buffer.alloc(0)
  }
  const meter: ResponseMeter = { head: () => undefined, take: (bytes) => bytes, end }
  const talk = new Conversation({ bodyBytesMax: 1_000, answerBytesMax: 1_000, meter, marks: () => [] })
  let due: number | undefined
  const answer = (): void => {
    const step = talk.placed(options.verdict ?? GO)
    log.push(...told(step.send))
    due = undefined
  }
  for (const words of script) {
    const message = fromWords(words)
    const modes = options.modes
    const step = talk.receive(
      message.kind === 'headers' && modes ? { ...message, protocol: { requestBodyMode: modes[0], responseBodyMode: modes[1] } } : message,
    )
    log.push(...told(step.send))
    if (step.over) log.push('over')
    if (due !== undefined) due--
    if (step.place) {
      log.push(`place ${step.place.body?.length ?? '-'} ${step.place.ended ?? 'goes on'}`)
      due = options.late ?? 0
    }
    if (due === 0) answer()
  }
  return log
}

test.each<[what: string, script: string[], expected: string[], options?: Scripted]>([
  [
    'a call is placed when its body is whole, and answered head before body',
    ['>head', '>body 4', '>body 3 end'],
    ['place 7 body', '>head', '>body 7 end'],
  ],
  ['a call without a body is placed at once', ['>head end'], ['place - headers', '>head']],
  ['an empty body is one message', ['>head', '>body 0 end'], ['place 0 body', '>head', '>body 0 end']],
  ['an end that comes alone ends the body', ['>head', '>body 9', '>body 0 end'], ['place 9 body', '>head', '>body 9 end']],
  [
    'a second end of stream is passed over',
    ['>head', '>body 5 end', '>body 0 end', '>body 0 end'],
    ['place 5 body', '>head', '>body 5 end'],
  ],
  ['trailers end a body that has no end', ['>head', '>body 5', '>trailers'], ['place 5 trailers', '>head', '>body 5', '>trailers']],
  ['trailers without any body', ['>head', '>trailers'], ['place 0 trailers', '>head', '>trailers']],
  [
    'trailers after the end of the body are answered',
    ['>head', '>body 5 end', '>trailers'],
    ['place 5 body', '>head', '>body 5 end', '>trailers'],
  ],
  [
    'a body over the limit is placed on what is known, the rest goes through',
    ['>head', '>body 900', '>body 200', '>body 50', '>body 0 end'],
    ['place 1100 goes on', '>head', '>body 1100', '>body 50', '>body 0 end'],
  ],
  [
    'trailers end what goes through',
    ['>head', '>body 1100', '>body 10', '>trailers'],
    ['place 1100 goes on', '>head', '>body 1100', '>body 10', '>trailers'],
  ],
  [
    'what comes while a large call is being placed is given with the answer',
    ['>head', '>body 1100', '>body 30', '>body 0 end'],
    ['place 1100 goes on', '>head', '>body 1130 end'],
    { late: 2 },
  ],
  [
    'a second end while placing is passed over',
    ['>head', '>body 5 end', '>body 0 end'],
    ['place 5 body', '>head', '>body 5 end'],
    { late: 1 },
  ],
  [
    'a refusal is the last word',
    ['>head', '>body 5 end', '<json', '<body 3 end'],
    ['place 5 body', 'refused 503'],
    { verdict: { kind: 'refuse', status: 503, headers: [], body: '', details: '' } },
  ],
  [
    'a stream goes back chunk by chunk, empty ones only at the end',
    ['>head end', '<sse', '<body 3', '<body 0', '<body 4', '<body 0 end'],
    ['place - headers', '>head', '<head', '<body 3', '<body 4', 'metered', '<body 0 end', 'over'],
  ],
  [
    'a JSON answer goes back whole, once',
    ['>head end', '<json', '<body 3', '<body 4', '<body 0 end'],
    ['place - headers', '>head', '<head', 'metered', '<body 7 end', 'over'],
  ],
  [
    'a JSON answer over the limit goes on chunk by chunk',
    ['>head end', '<json', '<body 900', '<body 200', '<body 5', '<body 0 end'],
    ['place - headers', '>head', '<head', '<body 1100', '<body 5', 'metered', '<body 0 end', 'over'],
  ],
  [
    'an encoded answer is not kept',
    ['>head end', '<gzip', '<body 3', '<body 4 end'],
    ['place - headers', '>head', '<head', '<body 3', 'metered', '<body 4 end', 'over'],
  ],
  [
    'trailers end a stream',
    ['>head end', '<sse', '<body 3', '<trailers'],
    ['place - headers', '>head', '<head', '<body 3', 'metered', '<trailers', 'over'],
  ],
  [
    'trailers end a JSON answer',
    ['>head end', '<json', '<body 3', '<trailers'],
    ['place - headers', '>head', '<head', 'metered', '<body 3', '<trailers', 'over'],
  ],
  ['an answer without a body', ['>head end', '<json end'], ['place - headers', '>head', 'metered', '<head', 'over']],
  [
    'an answer that comes before the request is whole does not end the stream',
    ['>head', '>body 1100', '<json', '<body 2 end', '>body 7 end'],
    ['place 1100 goes on', '>head', '>body 1100', '<head', 'metered', '<body 2 end', '>body 7 end'],
  ],
  [
    'a second end of the answer is passed over',
    ['>head end', '<sse', '<body 1 end', '<body 0 end'],
    ['place - headers', '>head', '<head', 'metered', '<body 1 end', 'over'],
  ],
  [
    'without bodies the call is placed by its head',
    ['>head', '<sse', '<body 2 end'],
    ['place - goes on', '>head', '<head', 'metered', '<body 2 end'],
    { modes: [0, 4] },
  ],
  [
    'buffered bodies are waved through',
    ['>head', '>body 5 end', '<json', '<body 9 end'],
    ['place - goes on', '>head', '>seen', '<head', 'metered', '<seen', 'over'],
    { modes: [2, 2] },
  ],
  ['a message of a newer protocol is passed over', ['>head', '>trailers'], ['place 0 trailers', '>head', '>trailers']],
])('%s', (_, script, expected, options) => {
  expect(play(script, options)).toEqual(expected)
})

test.each([
  [0, [0]],
  [61_000, [61_000]],
  [62_000, [62_000]],
  [62_001, [62_000, 1]],
  [125_000, [62_000, 62_000, 1_000]],
])('a body of %i bytes goes on in chunks of at most 62,000, the end on the last', (bytes, sizes) => {
  const talk = new Conversation({
    bodyBytesMax: 1_000_000,
    answerBytesMax: 1,
    meter: { head: () => undefined, take: (chunk) => chunk, end: () => Buffer.alloc(0) },
    marks: () => [],
  })
  talk.receive(fromWords('>head'))
  expect(talk.receive(fromWords(`>body ${bytes} end`)).place).toBeDefined()
  const [, ...bodies] = talk.placed(GO).send
  expect(told(bodies)).toEqual(sizes.map((size, i) => `>body ${size}${i === sizes.length - 1 ? ' end' : ''}`))
})

test('whatever the cut, the bytes are the same, each chunk fits, and the end is told once', () => {
  const words = fc.constantFrom('body', 'body', 'body', 'body end', 'body end', 'trailers')
  fc.assert(
    fc.property(fc.array(fc.tuple(words, fc.nat(70_000)), { maxLength: 8 }), fc.nat(200_000), fc.nat(4), (parts, limit, late) => {
      const talk = new Conversation({
        bodyBytesMax: limit,
        answerBytesMax: limit,
        meter: { head: () => undefined, take: (chunk) => chunk, end: () => Buffer.alloc(0) },
        marks: () => [],
      })
      const out: ToEnvoy[] = []
      let due: number | undefined
      let sentBytes = 0
      let ended = false
      const step = (message: FromEnvoy): void => {
        const { send, place } = talk.receive(message)
        out.push(...send)
        if (due !== undefined) due--
        if (place) due = late
        if (due !== undefined && due <= 0) {
          due = undefined
          out.push(...talk.placed(GO).send)
        }
      }
      step(fromWords('>head'))
      for (const [word, size] of parts) {
        if (!ended && word !== 'trailers') sentBytes += size
        step(fromWords(word === 'trailers' ? '>trailers' : `>${word.replace('body', `body ${size}`)}`))
        if (word !== 'body') ended = true
      }
      if (due !== undefined) out.push(...talk.placed(GO).send)
      const bodies = out.flatMap((message) => (message.kind === 'body' ? [message] : []))
      expect(bodies.every(({ body }) => body.length <= CHUNK_BYTES)).toBe(true)
      expect(bodies.filter(({ endOfStream }) => endOfStream).length).toBeLessThanOrEqual(1)
      if (ended) expect(bodies.reduce((sum, { body }) => sum + body.length, 0)).toBe(sentBytes)
      if (out.length > 0) expect(out[0]?.kind).toBe('headers')
      expect(out.filter(({ kind }) => kind === 'headers').length).toBeLessThanOrEqual(1)
    }),
    { numRuns: 500 },
  )
})
