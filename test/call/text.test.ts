import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { COUNT_CHARS_MAX, countText } from '../../plugin/call/counts.ts'
import { TEXT_FEATURES_MAX, wordFeatures } from '../../plugin/call/text.ts'
import { callOf, chatOf } from './calls.ts'

describe('word features', () => {
  test('never more than the bound, never twice the same, the same for the same text', () => {
    fc.assert(
      fc.property(fc.oneof(fc.lorem({ maxCount: 200 }), fc.string({ unit: 'binary', maxLength: 3000 })), (text) => {
        const features = wordFeatures(text)
        expect(features.length).toBeLessThanOrEqual(TEXT_FEATURES_MAX)
        expect(new Set(features).size).toBe(features.length)
        expect(wordFeatures(text)).toEqual(features)
      }),
    )
  })

  test('case, punctuation and spacing do not matter; order does', () => {
    expect(wordFeatures('Translate THIS, please!')).toEqual(wordFeatures('translate   this please'))
    expect(new Set(wordFeatures('a b'))).not.toEqual(new Set(wordFeatures('b a')))
    expect(wordFeatures('one two three').length).toBe(5)
  })

  test('a long text is known by its head and its tail', () => {
    const middle = 'filler '.repeat(5000)
    const one = new Set(wordFeatures(`Summarise the following report ${middle} in three sentences`))
    for (const feature of wordFeatures('in three sentences')) expect(one.has(feature)).toBe(true)
    for (const feature of wordFeatures('Summarise the following report')) expect(one.has(feature)).toBe(true)
  })

  test('each character of a script without spaces is a word', () => {
    expect(wordFeatures('翻译').length).toBe(3)
  })

  test('only the last text of the user is read; none when switched off', () => {
    const messages = [
      { role: 'user', content: 'first' },
      { role: 'assistant', content: 'answer' },
      { role: 'user', content: [{ type: 'text', text: 'second' }] },
      { role: 'tool', content: 'tool output' },
    ]
    expect(callOf('/v1/chat/completions', { model: 'm', messages }).textFeatures).toEqual(wordFeatures('second'))
    expect(callOf('/v1/chat/completions', { model: 'm', messages }, { textFeatures: false }).textFeatures.length).toBe(0)
  })

  test('a turn of tool results alone keeps the question before it', () => {
    const messages = [
      { role: 'user', content: 'question' },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'x', content: [] }] },
    ]
    expect(callOf('/v1/messages', { model: 'm', messages }).textFeatures).toEqual(wordFeatures('question'))
  })
})

describe('text counts', () => {
  test('a sampled long text is counted as its repetition says', () => {
    const unit = 'Some words, 42 of them; größer 漢字 and Привет.\n'
    const once = countText([unit], 0)
    const times = Math.ceil((COUNT_CHARS_MAX * 8) / unit.length)
    const many = countText([unit.repeat(times)], 0)
    // Windows of 512 characters cut some runs at their edges: a few per cent.
    for (const name of ['words', 'digits', 'signRuns', 'gaps', 'accents', 'alphabets', 'wides'] as const)
      expect(Math.abs(many[name] / (once[name] * times) - 1)).toBeLessThan(0.05)
  })

  test('pieces are counted alike whether sent as one message or as many', () => {
    const turns = Array.from({ length: 150 }, () => ({ role: 'user', content: 'Some words, 42 of them. ' }))
    const many = callOf('/v1/chat/completions', { model: 'm', messages: turns })
    const one = chatOf('Some words, 42 of them. '.repeat(150))
    expect(many.promptText?.digits).toBe(one.promptText?.digits)
    expect(many.promptText?.words).toBe(one.promptText?.words)
  })

  test('an image counts as one medium, not as its bytes', () => {
    const part = { type: 'image_url', image_url: { url: `data:image/png;base64,${'A'.repeat(5000)}` } }
    const call = callOf('/v1/chat/completions', {
      model: 'm',
      messages: [{ role: 'user', content: [{ type: 'text', text: 'what?' }, part] }],
    })
    expect(call.promptText).toMatchObject({ media: 1, words: 1, longLetters: 0 })
  })
})
