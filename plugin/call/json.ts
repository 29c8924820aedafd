/** Reads of parsed JSON that may hold anything: a value of an odd type reads as absent, and the instance judges it. */

export type JsonObject = Readonly<Record<string, unknown>>

/** The value as an object, or undefined (arrays are not objects here). */
export function objectIn(value: unknown): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined
}

/** The value as an array, empty where it is none. */
export function listIn(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** The value as a non-empty string, or undefined. */
export function textIn(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** The value as a finite number, or undefined. */
export function numberIn(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}

/** The value as a whole number of at least `min`, or undefined. */
export function wholeIn(value: unknown, min: number): number | undefined {
  return Number.isSafeInteger(value) && (value as number) >= min ? (value as number) : undefined
}
