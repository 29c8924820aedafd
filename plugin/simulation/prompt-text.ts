import { createRng, seedOf } from '../rng.ts'
import { TASKS, type TaskName } from './tasks.ts'
import { BYTES_PER_TOKEN } from './tokens.ts'
import { textOfBytes } from './words.ts'

/** Tokens behind one of a trace's `hash_ids` (Mooncake's block size). */
export const HASH_BLOCK_TOKENS = 512

export interface PromptWish {
  readonly promptTokens: number
  /** Ids of 512-token blocks: equal ids give equal text. What lies beyond them is unique to `seed`. */
  readonly hashIds?: readonly number[]
  /** Starts the prompt with words of that task. */
  readonly task?: TaskName
  /** Makes the text; two seeds share no 16-token block, unless they share `hashIds`. */
  readonly seed: number
}

/** A prompt of exactly `promptTokens` tokens as the virtual tokenizer counts them. */
export function promptText({ promptTokens, hashIds = [], task, seed }: PromptWish): string {
  const bytes = promptTokens * BYTES_PER_TOKEN
  const blocks = hashIds.slice(0, Math.ceil(promptTokens / HASH_BLOCK_TOKENS)).map(blockText)
  const opening = blocks.length > 0 ? blocks.join('') : (TASKS.find((t) => t.name === task)?.opening ?? '')
  if (opening.length >= bytes) return opening.slice(0, bytes)
  return opening + textOfBytes(bytes - opening.length, createRng(seed))
}

function blockText(id: number): string {
  return textOfBytes(HASH_BLOCK_TOKENS * BYTES_PER_TOKEN, createRng(seedOf(`block ${id}`)))
}
