import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { modelEdit, replaceField, scanFields, spliceBody, usageEdit } from '../../plugin/call/fields.ts'

const blank = fc.stringMatching(/^[ \t\r\n]{0,3}$/)

/** JSON text of an object with the sender's own white space, escapes and repeated keys. */
const objectText = fc
  .tuple(
    fc.array(
      fc.record({
        key: fc.oneof(
          fc.constantFrom('model', 'messages', 'prompt', '__proto__', 'stream_options'),
          fc.string(),
          fc.string({ unit: 'binary' }),
        ),
        value: fc.oneof(
          fc.json(),
          fc.json({ stringUnit: 'binary' }),
          fc.constantFrom('"\\\\"', '"\\\\\\""', '[]', '{}', '-1.5e+3', 'null'),
        ),
        escaped: fc.boolean(),
        blanks: fc.tuple(blank, blank, blank, blank),
      }),
    ),
    blank,
    blank,
  )
  .map(([members, before, inside]) => {
    const texts = members.map((m) => {
      const key = m.escaped ? escapedAll(m.key) : JSON.stringify(m.key)
      return `${m.blanks[0]}${key}${m.blanks[1]}:${m.blanks[2]}${m.value}${m.blanks[3]}`
    })
    return `${before}{${texts.length === 0 ? inside : texts.join(',')}}${inside}`
  })

function escapedAll(text: string): string {
  return `"${Array.from({ length: text.length }, (_, i) => `\\u${text.charCodeAt(i).toString(16).padStart(4, '0')}`).join('')}"`
}

const valueAt = (body: Buffer, range: { start: number; end: number }): unknown => JSON.parse(body.toString('utf8', range.start, range.end))

describe('fields of a body', () => {
  test('every range holds exactly the value JSON.parse gives that key', () => {
    fc.assert(
      fc.property(objectText, (text) => {
        const body = Buffer.from(text)
        const { ranges } = scanFields(body.toString('latin1'))
        // Parsed from the same bytes: a lone half of a surrogate pair does not survive UTF-8.
        const parsed = new Map(Object.entries(JSON.parse(body.toString('utf8'))))
        expect(new Set(ranges.keys())).toEqual(new Set(parsed.keys()))
        for (const [name, range] of ranges) expect(valueAt(body, range)).toEqual(parsed.get(name))
      }),
      { numRuns: 500 },
    )
  })

  test('a replaced field changes its value and no other byte', () => {
    fc.assert(
      fc.property(objectText, fc.string(), (text, model) => {
        const body = Buffer.from(text)
        const fields = scanFields(body.toString('latin1'))
        const edit = modelEdit(fields, model)
        const after = spliceBody(body, [edit])
        expect(after.subarray(0, edit.start)).toEqual(body.subarray(0, edit.start))
        expect(after.subarray(edit.start + edit.bytes.length)).toEqual(body.subarray(edit.end))
        const before = JSON.parse(body.toString('utf8'))
        Object.defineProperty(before, 'model', {
          value: Buffer.from(model).toString('utf8'),
          enumerable: true,
          writable: true,
          configurable: true,
        })
        expect(JSON.parse(after.toString('utf8'))).toEqual(before)
      }),
      { numRuns: 300 },
    )
  })

  test('bytes that are no JSON still end the scan', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[{}[\]",:\\a0 ]{0,40}$/), (text) => {
        const scan = (): number => {
          try {
            return scanFields(text).ranges.size
          } catch (error) {
            expect(error).toBeInstanceOf(SyntaxError)
            return 0
          }
        }
        expect(scan()).toBeLessThanOrEqual(text.length)
      }),
      { numRuns: 500 },
    )
  })

  test.each([
    ['none', '{"model":"m","stream":true}', '{"stream_options":{"include_usage":true},"model":"m","stream":true}'],
    ['null', '{"model":"m", "stream_options" : null }', '{"model":"m", "stream_options" : {"include_usage":true} }'],
    ['empty', '{"stream_options":{ }}', '{"stream_options":{"include_usage":true }}'],
    ['asked not to', '{"stream_options":{"include_usage": false,"x":1}}', '{"stream_options":{"include_usage": true,"x":1}}'],
    ['other options', '{"é":1,"stream_options":{"x":1}}', '{"é":1,"stream_options":{"include_usage":true,"x":1}}'],
    [
      'given twice',
      '{"stream_options":{},"stream_options":{"a":2}}',
      '{"stream_options":{},"stream_options":{"include_usage":true,"a":2}}',
    ],
  ])('usage is asked for by a splice where stream_options is: %s', (_, before, after) => {
    const body = Buffer.from(before)
    const edit = usageEdit(body, scanFields(body.toString('latin1')))
    expect(edit && spliceBody(body, [edit]).toString()).toBe(after)
  })

  test.each(['{"stream_options":{"include_usage":true}}', '{"stream_options":"odd"}'])(
    'no splice where it changes nothing or cannot help: %s',
    (text) => {
      expect(usageEdit(Buffer.from(text), scanFields(text))).toBeUndefined()
    },
  )

  test('two edits of one body land where they belong, in either order', () => {
    const body = Buffer.from('{"model":"alias","stream":true,"n":1.00000000000000000001}')
    const fields = scanFields(body.toString('latin1'))
    const edits = [replaceField(fields, 'stream', 'false'), modelEdit(fields, 'a"b')]
    expect(spliceBody(body, edits).toString()).toBe('{"model":"a\\"b","stream":false,"n":1.00000000000000000001}')
  })
})
