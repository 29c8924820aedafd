import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PREFIX_BLOCK_BYTES, PREFIX_BLOCKS_MAX } from '../../plugin/call/prefix.ts'
import { callOf } from './calls.ts'

const turn = fc.record({ role: fc.constantFrom('user', 'assistant'), content: fc.string({ maxLength: 400 }) })

const chat = (messages: readonly unknown[], more: object = {}): BigUint64Array =>
  callOf('/v1/chat/completions', { model: 'm', ...more, messages }).prefixBlocks

const isPrefix = (short: BigUint64Array, long: BigUint64Array): boolean => short.every((hash, i) => long[i] === hash)

describe('prefix blocks', () => {
  test('a longer conversation keeps all blocks of the shorter one, whatever their lengths', () => {
    fc.assert(
      fc.property(fc.array(turn, { minLength: 1, maxLength: 8 }), turn, fc.boolean(), (turns, next, pretty) => {
        const text = (messages: unknown): string => JSON.stringify({ model: 'm', messages }, null, pretty ? 2 : 0)
        const short = callOf('/v1/chat/completions', text(turns)).prefixBlocks
        expect(isPrefix(short, callOf('/v1/chat/completions', text([...turns, next])).prefixBlocks)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  test('the count is the full blocks of the prompt without its closing bracket', () => {
    fc.assert(
      fc.property(fc.nat(2000), (length) => {
        const messages = [{ role: 'user', content: 'x'.repeat(length) }]
        expect(chat(messages).length).toBe(Math.floor((JSON.stringify(messages).length - 1) / PREFIX_BLOCK_BYTES))
      }),
    )
  })

  test('a change in one block changes that block and all after it, none before', () => {
    const content = 'x'.repeat(2000)
    const before = chat([{ role: 'user', content }])
    const after = chat([{ role: 'user', content: `${content.slice(0, 1000)}y${content.slice(1001)}` }])
    const changed = before.findIndex((hash, i) => hash !== after[i])
    expect(changed).toBeGreaterThan(2)
    for (let i = changed; i < before.length; i++) expect(after[i]).not.toBe(before[i])
  })

  test('another model shares nothing: its KV cache is another', () => {
    const messages = [{ role: 'user', content: 'x'.repeat(600) }]
    expect(chat(messages)[0]).not.toBe(chat(messages, { model: 'other' })[0])
  })

  test('tools come first, as templates write them: other tools share nothing, the same ones the whole conversation', () => {
    const messages = [{ role: 'user', content: 'x'.repeat(600) }]
    const tools = [{ type: 'function', function: { name: 'weather', description: 'd'.repeat(300) } }]
    expect(chat(messages, { tools })[0]).not.toBe(chat(messages)[0])
    expect(isPrefix(chat(messages, { tools }), chat([...messages, messages[0]], { tools }))).toBe(true)
  })

  test('the system prompt of Anthropic comes before the messages wherever it stands in the body', () => {
    const system = 's'.repeat(700)
    const messages = [{ role: 'user', content: 'x'.repeat(700) }]
    const first = callOf('/v1/messages', { model: 'm', system, messages })
    const last = callOf('/v1/messages', { model: 'm', messages, system })
    expect(first.prefixBlocks).toEqual(last.prefixBlocks)
    const longer = callOf('/v1/messages', { model: 'm', messages: [...messages, { role: 'assistant', content: 'y'.repeat(300) }], system })
    expect(isPrefix(first.prefixBlocks, longer.prefixBlocks)).toBe(true)
    expect(longer.prefixBlocks.length).toBeGreaterThan(first.prefixBlocks.length)
  })

  test('a completion that goes on from a longer text keeps its prefix', () => {
    const prompt = 'word '.repeat(200)
    const short = callOf('/v1/completions', { model: 'm', prompt }).prefixBlocks
    expect(short.length).toBe(3)
    expect(isPrefix(short, callOf('/v1/completions', { model: 'm', prompt: `${prompt}more and more` }).prefixBlocks)).toBe(true)
  })

  test('the number of blocks is bounded', () => {
    const blocks = chat([{ role: 'user', content: 'x'.repeat(PREFIX_BLOCK_BYTES * (PREFIX_BLOCKS_MAX + 10)) }])
    expect(blocks.length).toBe(PREFIX_BLOCKS_MAX)
  })
})
