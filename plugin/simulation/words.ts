import type { Rng } from '../rng.ts'

/** Words of the texts that virtual instances answer with and generated prompts are made of. */
const WORDS: readonly string[] = (
  'the of and to in is that it for as with was on are by this be from at which or an not have has their its can more when will one ' +
  'there been also other than after first two these may such into most some time between over through where both only each during ' +
  'people water system world energy music market school family city garden letter number machine story river doctor engine teacher ' +
  'history science language question answer example result change value model process surface pattern reason method measure effect ' +
  'simple clear early large small common recent useful strong quiet bright careful steady gentle narrow modern local careful ' +
  'shows makes gives takes keeps finds leads helps brings turns grows moves holds reads writes follows explains describes compares'
).split(' ')

/** `count` tokens of English-looking text, one string per token; joined they are the text. */
export function textPieces(count: number, rng: Rng): string[] {
  const pieces: string[] = []
  let sentence = 0
  for (let i = 0; i < count; i++) {
    if (sentence > 5 && (sentence > 16 || rng.int(8) === 0)) {
      pieces.push('.')
      sentence = 0
      continue
    }
    const word = WORDS[rng.int(WORDS.length)] as string
    pieces.push(sentence === 0 ? `${i === 0 ? '' : ' '}${word.charAt(0).toUpperCase()}${word.slice(1)}` : ` ${word}`)
    sentence++
  }
  return pieces
}

/** Text of exactly `bytes` bytes of ASCII. */
export function textOfBytes(bytes: number, rng: Rng): string {
  let text = ''
  while (text.length < bytes) text += textPieces(Math.ceil((bytes - text.length) / 5) + 1, rng).join('') + (text === '' ? '' : ' ')
  return text.slice(0, bytes)
}
