/**
 * Call ids: a safe integer of 41 bits of milliseconds since 2024 and 12 bits of sequence. As SQLite's rowid it orders calls by
 * arrival without an index of its own, and a time range is an id range. People see it as eleven letters of Crockford base 32.
 */
export const ID_EPOCH_UNIX_MS = 1_704_067_200_000
const SEQUENCE = 4096
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** Makes ids that only grow, even when the wall clock steps back or a millisecond holds more than 4,096 calls. */
export function createIdSource(nowUnixMs: () => number): () => number {
  let last = 0
  return () => {
    last = Math.max(last + 1, firstIdAt(nowUnixMs()))
    return last
  }
}

/** The smallest id that a call arriving at `unixMs` can have. */
export function firstIdAt(unixMs: number): number {
  return Math.max(0, Math.floor(unixMs - ID_EPOCH_UNIX_MS)) * SEQUENCE
}

/** The arrival time in an id, in Unix ms. */
export function unixMsOfId(callId: number): number {
  return Math.floor(callId / SEQUENCE) + ID_EPOCH_UNIX_MS
}

/** The id as people see it: eleven characters. */
export function formatId(callId: number): string {
  let rest = callId
  let text = ''
  for (let i = 0; i < 11; i++) {
    text = (ALPHABET[rest % 32] ?? '0') + text
    rest = Math.floor(rest / 32)
  }
  return text
}

/** The id behind eleven characters, or undefined where the text is no id. */
export function parseId(text: string): number | undefined {
  if (text.length !== 11) return undefined
  let value = 0
  for (const letter of text.toUpperCase()) {
    const digit = ALPHABET.indexOf(letter)
    if (digit < 0) return undefined
    value = value * 32 + digit
  }
  return Number.isSafeInteger(value) ? value : undefined
}
