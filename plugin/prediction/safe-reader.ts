import { Circuit } from './circuit.ts'
import type { TextReader } from './text/reading.ts'

/** Reading is bounded (head and tail only), so that it takes a fraction of this even on a busy machine. */
const LATE_MS = 5

/** A reader that never throws and is set aside when it is slow or broken: undefined then, and the call is predicted without its text. */
export function createSafeReader(parts: {
  readonly readText: TextReader
  readonly nowMs: () => number
  readonly count: (what: string) => void
}): (text: string) => Float32Array | undefined {
  const { readText, nowMs, count } = parts
  const circuit = new Circuit()
  const strike = (what: string, atMs: number): void => {
    count(what)
    if (circuit.strike(atMs)) count('text reader set aside')
  }
  return (text) => {
    const startMs = nowMs()
    if (circuit.isOpen(startMs)) return undefined
    try {
      const reading = readText(text)
      const endMs = nowMs()
      if (endMs - startMs > LATE_MS) strike('text reader late', endMs)
      else circuit.passed()
      return reading
    } catch {
      strike('text reader failed', startMs)
      return undefined
    }
  }
}
