import {
  type FromEnvoy,
  LB_NAMESPACE,
  type MetadataContext,
  type MetadataValue,
  type ProtocolConfig,
  SERVED_KEY,
  type Side,
  SUBSET_KEY,
  SUBSET_NAMESPACE,
} from './messages.ts'
import { BYTES, Cursor, DEPTH_MAX, FIXED64, ProtobufError, tagOf, VARINT } from './protobuf-cursor.ts'
import { wantedName } from './wanted.ts'

/**
 * Reads envoy.service.ext_proc.v3.ProcessingRequest: the few fields that matter, every other one is skipped by its wire type. Written by
 * hand because a library that builds all of it takes several times as long (README, Cost); a test compares it with protobufjs on the
 * .proto files, on random and on damaged messages.
 */

const SIDE_OF: Readonly<Record<number, Side>> = { 2: 'request', 3: 'response', 4: 'request', 5: 'response', 6: 'request', 7: 'response' }

/** Reads one ProcessingRequest; bodies are views into `bytes`. Throws ProtobufError on bytes that are no protobuf. */
export function readFromEnvoy(bytes: Buffer): FromEnvoy {
  const cursor = new Cursor(bytes)
  let message: FromEnvoy = { kind: 'unknown' }
  let metadata: MetadataContext | undefined
  let protocol: ProtocolConfig | undefined
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    const field = tag >>> 3
    // Metadata comes with every message; with bodies and trailers it says nothing new.
    const idle = field === 8 && message.kind !== 'headers' && message.kind !== 'unknown'
    if ((tag & 7) !== BYTES || field < 2 || (field > 8 && field !== 11) || idle) {
      cursor.skip(tag)
      continue
    }
    const outer = cursor.enter()
    if (field <= 7) message = readPart(cursor, field)
    else if (field === 8) metadata = readMetadata(cursor, metadata)
    else protocol = readProtocol(cursor)
    cursor.leave(outer)
  }
  return message.kind === 'headers' && (metadata || protocol) ? { ...message, metadata, protocol } : message
}

function readPart(cursor: Cursor, field: number): FromEnvoy {
  const side = SIDE_OF[field] as Side
  if (field <= 3) return readHeaders(cursor, side)
  return field <= 5 ? readBody(cursor, side) : readTrailers(cursor, side)
}

function readHeaders(cursor: Cursor, side: Side): FromEnvoy {
  const headers: Record<string, string> = Object.create(null)
  let endOfStream = false
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    if (tag === tagOf(1, BYTES)) {
      const outer = cursor.enter()
      readHeaderMap(cursor, headers)
      cursor.leave(outer)
    } else if (tag === tagOf(3, VARINT)) endOfStream = cursor.varint() !== 0
    else cursor.skip(tag)
  }
  return { kind: 'headers', side, headers, endOfStream, metadata: undefined, protocol: undefined }
}

function readHeaderMap(cursor: Cursor, into: Record<string, string>): void {
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    if (tag !== tagOf(1, BYTES)) {
      cursor.skip(tag)
      continue
    }
    const outer = cursor.enter()
    readHeader(cursor, into)
    cursor.leave(outer)
  }
}

/** HeaderValue: key 1, value 2, raw_value 3, of which the raw one counts where both are there. A header given twice is joined. */
function readHeader(cursor: Cursor, into: Record<string, string>): void {
  const { bytes } = cursor
  let name: string | undefined
  let start = 0
  let end = 0
  let isRaw = false
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    if ((tag & 7) !== BYTES || tag > tagOf(3, BYTES)) {
      cursor.skip(tag)
      continue
    }
    const to = cursor.span()
    const raw = tag === tagOf(3, BYTES)
    if (tag === tagOf(1, BYTES)) name = wantedName(bytes, cursor.at, to)
    else if (raw ? to > cursor.at : !isRaw) {
      start = cursor.at
      end = to
      isRaw = raw
    }
    cursor.at = to
  }
  if (name === undefined) return
  const value = bytes.toString('utf8', start, end)
  const before = into[name]
  into[name] = before === undefined ? value : `${before}, ${value}`
}

function readBody(cursor: Cursor, side: Side): FromEnvoy {
  let body: Buffer = EMPTY
  let endOfStream = false
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    if (tag === tagOf(1, BYTES)) body = cursor.slice()
    else if (tag === tagOf(2, VARINT)) endOfStream = cursor.varint() !== 0
    else cursor.skip(tag)
  }
  return { kind: 'body', side, body, endOfStream }
}

const EMPTY = Buffer.alloc(0)

/** What trailers say does not matter here, that they are there does; they are walked through all the same, to notice bytes that are no protobuf. */
function readTrailers(cursor: Cursor, side: Side): FromEnvoy {
  while (cursor.at < cursor.end) cursor.skip(cursor.tag())
  return { kind: 'trailers', side }
}

/** ProtocolConfiguration: request_body_mode 1, response_body_mode 2. */
function readProtocol(cursor: Cursor): ProtocolConfig {
  let requestBodyMode = 0
  let responseBodyMode = 0
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    if (tag === tagOf(1, VARINT)) requestBodyMode = cursor.varint()
    else if (tag === tagOf(2, VARINT)) responseBodyMode = cursor.varint()
    else cursor.skip(tag)
  }
  return { requestBodyMode, responseBodyMode }
}

/** Metadata: filter_metadata 1, a map from namespace to Struct; what nobody here asks for is not built. */
function readMetadata(cursor: Cursor, before: MetadataContext | undefined): MetadataContext | undefined {
  let context = before
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    if (tag !== tagOf(1, BYTES)) {
      cursor.skip(tag)
      continue
    }
    const outer = cursor.enter()
    const [namespace, value] = readEntry(cursor, (key) =>
      NAMESPACES.has(key) ? () => readStruct(cursor, { depth: 0, keys: ASKED }) : undefined,
    )
    if (NAMESPACES.has(namespace)) context = { ...context, [namespace]: value ?? {} }
    cursor.leave(outer)
  }
  return context
}

const NAMESPACES: ReadonlySet<string> = new Set([LB_NAMESPACE, SUBSET_NAMESPACE])
/** Keys of those namespaces that are read. */
const ASKED: ReadonlySet<string> = new Set([SERVED_KEY, SUBSET_KEY])

type ReadValue = () => MetadataValue

/** A map entry: key 1, value 2. Every writer puts the key first; where it comes second, the value is read as that of no key. */
function readEntry(cursor: Cursor, readerOf: (key: string) => ReadValue | undefined): readonly [string, MetadataValue | undefined] {
  let key = ''
  let value: MetadataValue | undefined
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    const read = tag === tagOf(2, BYTES) ? readerOf(key) : undefined
    if (tag === tagOf(1, BYTES)) key = cursor.text()
    else if (read) {
      const outer = cursor.enter()
      value = read()
      cursor.leave(outer)
    } else cursor.skip(tag)
  }
  return [key, value]
}

interface StructBounds {
  readonly depth: number
  /** Only these are built; all where absent. */
  readonly keys?: ReadonlySet<string>
}

function readStruct(cursor: Cursor, { depth, keys }: StructBounds): { [key: string]: MetadataValue } {
  const fields: { [key: string]: MetadataValue } = Object.create(null)
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    if (tag !== tagOf(1, BYTES)) {
      cursor.skip(tag)
      continue
    }
    const outer = cursor.enter()
    const [key, value] = readEntry(cursor, (name) => (keys && !keys.has(name) ? undefined : () => readValue(cursor, depth + 1)))
    if (!keys || keys.has(key)) fields[key] = value ?? null
    cursor.leave(outer)
  }
  return fields
}

/** Value: null 1, number 2, text 3, truth 4, Struct 5, ListValue 6. */
function readValue(cursor: Cursor, depth: number): MetadataValue {
  if (depth > DEPTH_MAX) throw new ProtobufError('metadata is nested too deep')
  let value: MetadataValue = null
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    if (tag === tagOf(2, FIXED64)) value = cursor.double()
    else if (tag === tagOf(3, BYTES)) value = cursor.text()
    else if (tag === tagOf(4, VARINT)) value = cursor.varint() !== 0
    else if (tag === tagOf(5, BYTES) || tag === tagOf(6, BYTES)) {
      const outer = cursor.enter()
      value = tag === tagOf(5, BYTES) ? readStruct(cursor, { depth: depth + 1 }) : readList(cursor, depth + 1)
      cursor.leave(outer)
    } else cursor.skip(tag)
  }
  return value
}

function readList(cursor: Cursor, depth: number): MetadataValue[] {
  const values: MetadataValue[] = []
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    if (tag !== tagOf(1, BYTES)) {
      cursor.skip(tag)
      continue
    }
    const outer = cursor.enter()
    values.push(readValue(cursor, depth))
    cursor.leave(outer)
  }
  return values
}

/** HealthCheckRequest: service 1. Throws ProtobufError on bytes that are no protobuf. */
export function readHealthRequest(bytes: Buffer): string {
  const cursor = new Cursor(bytes)
  let service = ''
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    if (tag === tagOf(1, BYTES)) service = cursor.text()
    else cursor.skip(tag)
  }
  return service
}
