import {
  type FromEnvoy,
  LB_NAMESPACE,
  type MetadataContext,
  type MetadataValue,
  type ProtocolConfig,
  type Side,
  SUBSET_NAMESPACE,
} from './messages.ts'
import { BYTES, Cursor, DEPTH_MAX, FIXED64, inside, ProtobufError, tagOf, VARINT } from './protobuf-cursor.ts'

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
    if ((tag & 7) !== BYTES) cursor.skip(tag)
    else if (field >= 2 && field <= 7) message = inside(cursor, () => readPart(cursor, field))
    else if (field === 8) metadata = inside(cursor, () => readMetadata(cursor, metadata))
    else if (field === 11) protocol = inside(cursor, () => readProtocol(cursor))
    else cursor.skip(tag)
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
    if (tag === tagOf(1, BYTES)) inside(cursor, () => readHeaderMap(cursor, headers))
    else if (tag === tagOf(3, VARINT)) endOfStream = cursor.varint() !== 0
    else cursor.skip(tag)
  }
  return { kind: 'headers', side, headers, endOfStream, metadata: undefined, protocol: undefined }
}

function readHeaderMap(cursor: Cursor, into: Record<string, string>): void {
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    if (tag === tagOf(1, BYTES)) readHeader(cursor, into)
    else cursor.skip(tag)
  }
}

/** HeaderValue: key 1, value 2, raw_value 3, of which the raw one counts where both are there. */
function readHeader(cursor: Cursor, into: Record<string, string>): void {
  const outer = cursor.end
  cursor.end = cursor.span()
  let key = ''
  let value = ''
  let raw = ''
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    if (tag === tagOf(1, BYTES)) key = cursor.text()
    else if (tag === tagOf(2, BYTES)) value = cursor.text()
    else if (tag === tagOf(3, BYTES)) raw = cursor.text()
    else cursor.skip(tag)
  }
  cursor.end = outer
  if (key === '') return
  // Envoy's own are lower-case already.
  const name = key.toLowerCase()
  const said = raw === '' ? value : raw
  const before = into[name]
  into[name] = before === undefined ? said : `${before}, ${said}`
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

/** Metadata: filter_metadata 1, a map from namespace to Struct; namespaces that nobody here asks for are not built. */
function readMetadata(cursor: Cursor, before: MetadataContext | undefined): MetadataContext | undefined {
  let context = before
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    if (tag !== tagOf(1, BYTES)) {
      cursor.skip(tag)
      continue
    }
    const { key, value } = inside(cursor, () =>
      readEntry(cursor, (name) => (name === LB_NAMESPACE || name === SUBSET_NAMESPACE ? () => readStruct(cursor, 0) : undefined)),
    )
    if (key === LB_NAMESPACE || key === SUBSET_NAMESPACE) context = { ...context, [key]: value ?? {} }
  }
  return context
}

/** A map entry: key 1, value 2. Every writer puts the key first; where it comes second, the value is read as that of no key. */
function readEntry(
  cursor: Cursor,
  reader: (key: string) => (() => MetadataValue) | undefined,
): { readonly key: string; readonly value: MetadataValue | undefined } {
  let key = ''
  let value: MetadataValue | undefined
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    const read = tag === tagOf(2, BYTES) ? reader(key) : undefined
    if (tag === tagOf(1, BYTES)) key = cursor.text()
    else if (read) value = inside(cursor, read)
    else cursor.skip(tag)
  }
  return { key, value }
}

function readStruct(cursor: Cursor, depth: number): { [key: string]: MetadataValue } {
  const fields: { [key: string]: MetadataValue } = Object.create(null)
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    if (tag !== tagOf(1, BYTES)) {
      cursor.skip(tag)
      continue
    }
    const { key, value } = inside(cursor, () => readEntry(cursor, () => () => readValue(cursor, depth + 1)))
    fields[key] = value ?? null
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
    else if (tag === tagOf(5, BYTES)) value = inside(cursor, () => readStruct(cursor, depth + 1))
    else if (tag === tagOf(6, BYTES)) value = inside(cursor, () => readList(cursor, depth + 1))
    else cursor.skip(tag)
  }
  return value
}

function readList(cursor: Cursor, depth: number): MetadataValue[] {
  const values: MetadataValue[] = []
  while (cursor.at < cursor.end) {
    const tag = cursor.tag()
    if (tag === tagOf(1, BYTES)) values.push(inside(cursor, () => readValue(cursor, depth)))
    else cursor.skip(tag)
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
