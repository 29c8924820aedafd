import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { modelEdit, replaceField, scanFields, spliceBody, usageEdit } from '../../plugin/call/fields.ts'

const blank = fc.stringMatching(/^[ \t\r\n]{0,3}$/)

interface Member {
  readonly key: string
  readonly value: string
}

/**
 * JSON text of an object with the sender's own white space, escapes and repeated keys, and its members as they were written. The members are
 * the judge, not JSON.parse: V8 13.6 takes the escaped key " " for a key "\\" that it met before in that place.
 */
const written = fc
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
    return { text: `${before}{${texts.length === 0 ? inside : texts.join(',')}}${inside}`, members: members as readonly Member[] }
  })

function escapedAll(text: string): string {
  return `"${Array.from({ length: text.length }, (_, i) => `\\u${text.charCodeAt(i).toString(16).padStart(4, '0')}`).join('')}"`
}

/** Name to value text, the last of equal names. */
const byName = (members: readonly Member[]): Map<string, string> => new Map(members.map(({ key, value }) => [key, value]))

const scannedByName = (body: Buffer): Map<string, string> =>
  new Map([...scanFields(body.toString('latin1')).ranges].map(([name, range]) => [name, body.toString('utf8', range.start, range.end)]))

describe('fields of a body', () => {
  test('every range holds exactly the value written for its name, the last of equal names', () => {
    fc.assert(
      fc.property(written, ({ text, members }) => {
        expect(scannedByName(Buffer.from(text))).toEqual(byName(members))
      }),
      { numRuns: 500 },
    )
  })

  test('names and values are those of JSON.parse', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.stringMatching(/^[a-z_]{0,8}$/), fc.jsonValue()), fc.nat(3), (object, indent) => {
        const body = Buffer.from(JSON.stringify(object, null, indent))
        const scanned = [...scannedByName(body)].map(([name, value]) => [name, JSON.parse(value)])
        expect(Object.fromEntries(scanned)).toEqual(JSON.parse(body.toString('utf8')))
      }),
    )
  })

  test('a replaced field changes its value and no other byte', () => {
    fc.assert(
      fc.property(written, fc.string(), ({ text, members }, model) => {
        const body = Buffer.from(text)
        const edit = modelEdit(scanFields(body.toString('latin1')), model)
        const after = spliceBody(body, [edit])
        expect(after.subarray(0, edit.start)).toEqual(body.subarray(0, edit.start))
        expect(after.subarray(edit.start + edit.bytes.length)).toEqual(body.subarray(edit.end))
        expect(scannedByName(after)).toEqual(byName([...members, { key: 'model', value: JSON.stringify(model) }]))
      }),
      { numRuns: 300 },
    )
  })

  test('bytes that are no JSON still end the scan', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[{}[\]",:\\a0 ]{0,40}$/), (text) => {
        expect(scanFields(text).ranges.size).toBeLessThanOrEqual(text.length)
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
