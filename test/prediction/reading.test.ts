import { expect, test } from 'vitest'
import { createTextReader, EMBEDDING_WIDTH, READING_WIDTH } from '../../plugin/prediction/text/reading.ts'
import { Scanner } from '../../plugin/prediction/text/scan.ts'
import { createVocabulary } from '../../plugin/prediction/text/vocabulary.ts'
import { createRng } from '../../plugin/rng.ts'

const TOKENS = ['[UNK]', 'the', 'river', 'runs', 'slow', '##ly', 'past', 'our', 'house', '.', 'why', '?']

test('the mean of token embeddings is exact at the ends of their range, for one token and for many hundreds', () => {
  const rng = createRng(11)
  const embeddings = Int8Array.from(
    { length: TOKENS.length * EMBEDDING_WIDTH },
    () => [-128, 127, rng.int(256) - 128][rng.int(3)] as number,
  )
  const readText = createTextReader({ tokens: TOKENS, embeddings })
  const scanner = new Scanner(createVocabulary(TOKENS))
  for (const times of [1, 40, 64, 65, 129, 200]) {
    const text = 'the river runs slowly past our house. why? '.repeat(times)
    const { tokens, tokenCount } = scanner.scan(text)
    const plain = Array.from({ length: EMBEDDING_WIDTH }, (_, k) => {
      let sum = 0
      for (let t = 0; t < tokenCount; t++) sum += embeddings[(tokens[t] as number) * EMBEDDING_WIDTH + k] as number
      return Math.fround(sum * (1 / 16 / tokenCount))
    })
    expect([...readText(text).subarray(READING_WIDTH - EMBEDDING_WIDTH)]).toEqual(plain)
  }
})
