import { createRng, type Rng, seedOf } from '../../rng.ts'
import { drawOutputTokens, recogniseTask } from '../tasks.ts'
import { BYTES_PER_TOKEN } from '../tokens.ts'
import { textPieces } from '../words.ts'
import type { Demand, JsonSchema } from './demand.ts'

/** One answer, known in full before its first token is due. */
export interface Answer {
  /** One string per token, at least one; joined they are the text, or the tool's arguments. */
  readonly pieces: readonly string[]
  readonly finish: 'stop' | 'length' | 'tool' | 'abort'
  /** The stop sequence met, which is not part of the text. */
  readonly stopped?: string
  /** Name of the tool called: then `pieces` are its arguments as JSON. */
  readonly tool?: string
}

export interface AnswerLimits {
  /** Tokens that fit behind the prompt. */
  readonly roomTokens: number
  /** Length wanted by header, tokens. */
  readonly wantedTokens?: number
}

/** Plans answer number `index` to `prompt`. The same demand gives the same answer. */
export function planAnswer(demand: Demand, prompt: string, index: number, limits: AnswerLimits): Answer {
  const rng = createRng((seedOf(prompt) + Math.imul(index, 0x9e3779b9)) >>> 0)
  const ceiling = Math.max(1, Math.min(demand.maxTokens ?? limits.roomTokens, limits.roomTokens))
  if (demand.tool) {
    const pieces = jsonPieces(sample(demand.tool.parameters, rng))
    const cut = pieces.length > ceiling
    return { pieces: pieces.slice(0, ceiling), finish: cut ? 'length' : 'tool', tool: demand.tool.name }
  }
  const drawn = limits.wantedTokens ?? drawOutputTokens(recogniseTask(demand.lastText), rng.stream('length'))
  const natural = Math.max(drawn, demand.minTokens, 1)
  // With ignore_eos an engine stops at the limit only; without a limit, at the length asked for.
  const tokens = demand.ignoreEos ? (demand.maxTokens ?? limits.wantedTokens ?? ceiling) : natural
  const pieces = demand.json
    ? paddedJson(demand.json, tokens, { rng, exact: demand.ignoreEos })
    : textPieces(Math.min(tokens, ceiling), rng)
  const cut = pieces.length > ceiling || demand.ignoreEos || (!demand.json && tokens > ceiling)
  return stopAt(pieces.slice(0, ceiling), demand.stops) ?? { pieces: pieces.slice(0, ceiling), finish: cut ? 'length' : 'stop' }
}

/** Cuts the text before the first stop sequence; undefined when none occurs. */
function stopAt(pieces: readonly string[], stops: readonly string[]): Answer | undefined {
  if (stops.length === 0) return undefined
  const text = pieces.join('')
  let at = -1
  let stopped = ''
  for (const stop of stops) {
    const found = text.indexOf(stop)
    if (found >= 0 && (at < 0 || found < at)) {
      at = found
      stopped = stop
    }
  }
  if (at < 0) return undefined
  // Every token up to the one that completes the stop sequence was generated; what they hold beyond its start is not sent.
  const kept: string[] = []
  let position = 0
  for (const piece of pieces) {
    if (position >= at + stopped.length) break
    kept.push(piece.slice(0, Math.max(0, at - position)))
    position += piece.length
  }
  return { pieces: kept, finish: 'stop', stopped }
}

function jsonPieces(value: unknown): string[] {
  const text = JSON.stringify(value)
  return text.match(new RegExp(`[^]{1,${BYTES_PER_TOKEN}}`, 'gu')) ?? ['{}']
}

/** JSON of the schema; where no schema says what is in it, as long as wanted; where the length is exact, white space fills it up. */
function paddedJson(schema: JsonSchema, tokens: number, { rng, exact }: { readonly rng: Rng; readonly exact: boolean }): string[] {
  const open = Object.keys(schema).length === 0
  const frame = 8
  const value = open
    ? { answer: textPieces(Math.max(1, Math.round(((tokens - frame) * BYTES_PER_TOKEN) / 6)), rng).join('') }
    : sample(schema, rng)
  const pieces = jsonPieces(value)
  while (exact && pieces.length < tokens) pieces.push(' ')
  return pieces
}

/** A value that a JSON schema accepts, as far as the usual keywords go. */
function sample(schema: JsonSchema, rng: Rng, depth = 0): unknown {
  if ('const' in schema) return schema.const
  if (Array.isArray(schema.enum) && schema.enum.length > 0) return schema.enum[rng.int(schema.enum.length)]
  const alternatives = schema.anyOf ?? schema.oneOf
  if (Array.isArray(alternatives) && isSchema(alternatives[0])) return sample(alternatives[0], rng, depth)
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type
  switch (type ?? (isSchema(schema.properties) ? 'object' : 'string')) {
    case 'object':
      return sampleObject(schema, rng, depth)
    case 'array': {
      const items = isSchema(schema.items) ? schema.items : {}
      const least = typeof schema.minItems === 'number' ? schema.minItems : 1
      return depth > 5 ? [] : Array.from({ length: least }, () => sample(items, rng, depth + 1))
    }
    case 'integer':
    case 'number':
      return typeof schema.minimum === 'number' ? schema.minimum : rng.int(100)
    case 'boolean':
      return rng.int(2) === 1
    case 'null':
      return null
    default:
      return textPieces(2, rng).join('')
  }
}

function sampleObject(schema: JsonSchema, rng: Rng, depth: number): Record<string, unknown> {
  const properties = isSchema(schema.properties) ? schema.properties : {}
  const required = Array.isArray(schema.required) ? schema.required : []
  const names = Object.keys(properties).filter((name) => depth < 5 || required.includes(name))
  return Object.fromEntries(
    names.map((name) => {
      const inner = properties[name]
      return [name, sample(isSchema(inner) ? inner : {}, rng, depth + 1)]
    }),
  )
}

function isSchema(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
