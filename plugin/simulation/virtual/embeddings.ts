import { createRng, seedOf } from '../../rng.ts'
import type { Renderer, Reply } from './renderer.ts'

/** Dimensions of the vectors; chosen small, nobody looks into them. */
const DIMENSIONS = 64

/** /v1/embeddings: one vector per input, of length 1, the same for the same text. Never streamed. */
export function renderEmbeddings(reply: Reply): Renderer {
  return {
    open: () => '',
    piece: () => '',
    close: () => '',
    whole: ({ promptTokens, cachedTokens }) => ({
      id: `embd-${reply.id}`,
      object: 'list',
      created: reply.createdUnixS,
      model: reply.demand.model,
      data: reply.demand.prompts.map((prompt, index) => ({
        index,
        object: 'embedding',
        embedding: encode(vectorOf(prompt), reply.demand.embeddingFormat),
      })),
      usage: {
        prompt_tokens: promptTokens,
        total_tokens: promptTokens,
        completion_tokens: 0,
        prompt_tokens_details: { cached_tokens: cachedTokens },
      },
    }),
    broken: () => '',
  }
}

function vectorOf(text: string): Float32Array {
  const rng = createRng(seedOf(text))
  const vector = Float32Array.from({ length: DIMENSIONS }, () => rng.normal())
  const norm = Math.hypot(...vector)
  return vector.map((value) => value / norm)
}

function encode(vector: Float32Array, format: 'float' | 'base64'): number[] | string {
  return format === 'base64' ? Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64') : [...vector]
}
