import type { SavedHistory } from './length-history.ts'
import { LENGTH_FEATURE_HASH } from './length-model.ts'

/** A saved history as bytes: the length of its head, the head as JSON, then the numbers, little endian. */
export interface HistoryFile {
  /** The model whose errors it holds. */
  readonly version: string
  /** The last call it has learned from. */
  readonly callId: number
  readonly saved: SavedHistory
}

interface Head {
  readonly kind: 'length history'
  readonly version: string
  readonly callId: number
  readonly featureHash: string
  readonly applications: readonly string[]
  readonly histograms: readonly string[]
}

const ALIGNED = 4

/** The file as bytes. */
export function encodeHistory({ version, callId, saved }: HistoryFile): Uint8Array {
  const { applications, histograms, numbers } = saved
  const head: Head = { kind: 'length history', version, callId, featureHash: LENGTH_FEATURE_HASH, applications, histograms }
  const text = Buffer.from(JSON.stringify(head))
  const from = ALIGNED * Math.ceil((ALIGNED + text.length) / ALIGNED)
  const bytes = Buffer.alloc(from + numbers.byteLength, ' ')
  bytes.writeUInt32LE(from, 0)
  text.copy(bytes, ALIGNED)
  bytes.set(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength), from)
  return bytes
}

/** The history in bytes. Throws on what is none, or of other features. */
export function decodeHistory(bytes: Uint8Array): HistoryFile {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const from = view.length < ALIGNED ? 0 : view.readUInt32LE(0)
  if (from < ALIGNED || from > view.length) throw new Error('this is no length history: its head has no end')
  const head = JSON.parse(view.toString('utf8', ALIGNED, from)) as Head
  if (head.kind !== 'length history') throw new Error('this is no length history')
  if (head.featureHash !== LENGTH_FEATURE_HASH)
    throw new Error(`the length history is of features ${head.featureHash}, this version has ${LENGTH_FEATURE_HASH}`)
  const { version, callId, applications, histograms } = head
  // A copy: the bytes of a file need not lie where a Float32Array may start.
  const numbers = new Float32Array(Uint8Array.from(view.subarray(from)).buffer)
  return { version, callId, saved: { applications, histograms, numbers } }
}
