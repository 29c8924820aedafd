import fc from 'fast-check'
import { expect, test } from 'vitest'
import { scanFields } from '../../plugin/call/fields.ts'
import { parseCall } from '../../plugin/call/parse.ts'
import { fieldsInBody, placeInBody, shorten, WHOLE_BYTES_MAX } from '../../plugin/call/shorten.ts'

/** Texts with all that may stand in a JSON string: escapes, quotes, several bytes, halves of emoji. */
const piece = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1, maxLength: 30 }),
  fc.constantFrom('\\', '\\\\', '"', '\n', '\u0001', 'é', '漢字', '😀', ' plain words and more of them ', '\\u0041'),
)
const longText = fc
  .tuple(piece, fc.integer({ min: 40_000, max: 120_000 }))
  .map(([unit, size]) => unit.repeat(Math.ceil(size / unit.length)))
const body = fc
  .tuple(fc.array(fc.oneof(longText, piece), { minLength: 1, maxLength: 4 }), piece)
  .map(([texts, model]) =>
    Buffer.from(
      JSON.stringify({ a: 1, messages: texts.map((content) => ({ role: 'user', content })), model, list: [texts[0], 'x'], last: true }),
    ),
  )

test('the short text is JSON of the same shape, and its fields stand in the body where they are', () => {
  fc.assert(
    fc.property(body, (bytes) => {
      const short = shorten(bytes)
      const parsed = JSON.parse(short.bytes.toString('utf8')) as { model: string; messages: unknown[] }
      const whole = JSON.parse(bytes.toString('utf8')) as typeof parsed
      expect(Object.keys(parsed)).toEqual(Object.keys(whole))
      expect(parsed.messages).toHaveLength(whole.messages.length)
      expect(parsed.model).toBe(whole.model)
      const fields = fieldsInBody(short, scanFields(short.bytes.toString('latin1')))
      expect([...fields.ranges]).toEqual([...scanFields(bytes.toString('latin1')).ranges])
    }),
    { numRuns: 100 },
  )
})

test('a small body, and a large one of small texts, are left as they are', () => {
  const small = Buffer.from(JSON.stringify({ model: 'm', prompt: 'x'.repeat(WHOLE_BYTES_MAX - 100) }))
  expect(shorten(small).bytes).toBe(small)
  const many = Buffer.from(JSON.stringify({ model: 'm', prompt: Array(9_000).fill('some text') }))
  expect(many.length).toBeGreaterThan(WHOLE_BYTES_MAX)
  expect(shorten(many)).toEqual({ bytes: many, cuts: [] })
})

test('bytes that are no JSON end the search, not the process', () => {
  for (const text of ['"', '"\\', '{"a":"'.repeat(20_000), '"'.repeat(90_000), '\\'.repeat(90_000)])
    expect(shorten(Buffer.from(text.padEnd(90_000))).bytes.length).toBeGreaterThan(0)
})

test('a position before, between and after the cuts', () => {
  const cuts = [
    { shortAt: 10, leftOutBytes: 100 },
    { shortAt: 20, leftOutBytes: 300 },
  ]
  expect([9, 10, 19, 20, 30].map((at) => placeInBody({ cuts }, at))).toEqual([9, 110, 119, 320, 330])
})

test('a long prompt tells the same of itself as when it was read whole, its counts within a few per cent', () => {
  const read = (content: string) => {
    const text = Buffer.from(
      JSON.stringify({
        model: 'm',
        stream: true,
        messages: [
          { role: 'system', content: 'be brief' },
          { role: 'user', content },
        ],
        max_tokens: 7,
      }),
    )
    const parsed = parseCall({ path: '/v1/chat/completions', headers: {}, body: text, callId: 1, arrivedUnixMs: 1, textFeatures: true })
    if (parsed.kind !== 'call') throw new Error('refused')
    return parsed.call
  }
  const words = 'It was the best of times, it was the worst of times, 1859 said; größer? '
  const unit = words.repeat(400)
  const [once, many] = [read(unit), read(unit.repeat(8))]
  expect(many).toMatchObject({ model: 'm', stream: true, request: { maxTokens: 7, turns: 2 } })
  expect(many.promptBytes).toBeGreaterThan(7.9 * once.promptBytes - 1_000)
  expect(many.prefixBlocks.slice(0, 100)).toEqual(once.prefixBlocks.slice(0, 100))
  expect(many.textFeatures).toEqual(once.textFeatures)
  for (const name of ['words', 'digits', 'signRuns', 'accents'] as const)
    expect(Math.abs((many.promptText?.[name] ?? 0) / (8 * (once.promptText?.[name] ?? 1)) - 1)).toBeLessThan(0.08)
})
