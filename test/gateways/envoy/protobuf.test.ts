import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { FromEnvoy, ToEnvoy } from '../../../plugin/gateways/envoy/messages.ts'
import { ProtobufError } from '../../../plugin/gateways/envoy/protobuf-cursor.ts'
import { readFromEnvoy } from '../../../plugin/gateways/envoy/protobuf-read.ts'
import { writeToEnvoy } from '../../../plugin/gateways/envoy/protobuf-write.ts'
import { WANTED_HEADERS } from '../../../plugin/gateways/envoy/wanted.ts'
import { decode, encode, ProcessingRequest, ProcessingResponse, plainStruct, structOf } from './reference.ts'

const name = fc.oneof(fc.constantFrom(...WANTED_HEADERS), fc.constantFrom('accept', 'user-agent', ':authority', 'x-request-id', 'cookie'))
const text = fc.string({ unit: 'binary', maxLength: 40 }).map((value) => Buffer.from(value).toString('utf8'))
const header = fc.oneof(
  fc.record({ key: name, value: text }),
  fc.record({ key: name, raw_value: text.map((value) => Buffer.from(value)) }),
  fc.record({ key: name, value: text, raw_value: text.map((value) => Buffer.from(value)) }),
)
const json = fc.jsonValue({ maxDepth: 4 })
const namespace = fc.dictionary(
  fc.constantFrom(
    'x-gateway-destination-endpoint-subset',
    'x-gateway-destination-endpoint-served',
    'x-gateway-destination-endpoint',
    'other',
  ),
  json,
  { maxKeys: 4 },
)
const metadata = fc.option(fc.dictionary(fc.constantFrom('envoy.lb', 'envoy.lb.subset_hint', 'other'), namespace, { maxKeys: 3 }), {
  nil: undefined,
})
const part = fc.oneof(
  fc.record({
    kind: fc.constantFrom('request_headers', 'response_headers'),
    value: fc.record({ headers: fc.record({ headers: fc.array(header, { maxLength: 12 }) }), end_of_stream: fc.boolean() }),
  }),
  fc.record({
    kind: fc.constantFrom('request_body', 'response_body'),
    value: fc.record({ body: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)), end_of_stream: fc.boolean() }),
  }),
  fc.record({
    kind: fc.constantFrom('request_trailers', 'response_trailers'),
    value: fc.record({ trailers: fc.record({ headers: fc.array(header, { maxLength: 3 }) }) }),
  }),
)
const request = fc
  .record({ part, metadata, modes: fc.option(fc.tuple(fc.nat(4), fc.nat(4)), { nil: undefined }) })
  .map(({ part, metadata, modes }) => ({
    [part.kind]: part.value,
    ...(metadata
      ? {
          metadata_context: {
            filter_metadata: Object.fromEntries(
              Object.entries(metadata).map(([key, one]) => [key, structOf(one as Record<string, unknown>)]),
            ),
          },
        }
      : {}),
    ...(modes ? { protocol_config: { request_body_mode: modes[0], response_body_mode: modes[1] } } : {}),
  }))

/** Decoded messages, whose fields are looked at without knowing their type. */
interface Loose {
  [key: string]: Loose
}

/** The library's reading of the same bytes, in our words. */
function expected(bytes: Buffer): unknown {
  const message = decode(ProcessingRequest, bytes) as unknown as Loose
  const kind = ['request_headers', 'response_headers', 'request_body', 'response_body', 'request_trailers', 'response_trailers'].find(
    (one) => one in message,
  )
  if (!kind) return { kind: 'unknown' }
  const side = kind.split('_')[0]
  const value = message[kind]!
  if (kind.endsWith('trailers')) return { kind: 'trailers', side }
  if (kind.endsWith('body'))
    return { kind: 'body', side, body: Buffer.from((value.body ?? '') as unknown as string), endOfStream: Boolean(value.end_of_stream) }
  const headers: Record<string, string> = {}
  for (const one of (value.headers?.headers ?? []) as unknown as { key?: string; value?: string; raw_value?: Buffer }[]) {
    if (!WANTED_HEADERS.includes(one.key ?? '')) continue
    const said = one.raw_value?.length ? Buffer.from(one.raw_value).toString('utf8') : (one.value ?? '')
    headers[one.key!] = headers[one.key!] === undefined ? said : `${headers[one.key!]}, ${said}`
  }
  const found = Object.entries((message.metadata_context?.filter_metadata ?? {}) as unknown as Record<string, unknown>)
    .filter(([key]) => key === 'envoy.lb' || key === 'envoy.lb.subset_hint')
    .map(([key, struct]) => [
      key,
      Object.fromEntries(Object.entries(plainStruct(struct)).filter(([one]) => /endpoint-(subset|served)$/.test(one))),
    ])
  const modes = message.protocol_config
  return {
    kind: 'headers',
    side,
    headers,
    endOfStream: Boolean(value.end_of_stream),
    metadata: found.length > 0 ? Object.fromEntries(found) : undefined,
    protocol: modes
      ? { requestBodyMode: Number(modes.request_body_mode ?? 0), responseBodyMode: Number(modes.response_body_mode ?? 0) }
      : undefined,
  }
}

/** Objects without a prototype compare equal to others only as JSON has them. */
const plain = (message: FromEnvoy): unknown => ({
  ...message,
  ...(message.kind === 'headers'
    ? {
        headers: { ...message.headers },
        metadata: message.metadata && JSON.parse(JSON.stringify(message.metadata, (_, value) => (Object.is(value, -0) ? 0 : value))),
      }
    : {}),
})
const withoutMinusZero = (value: unknown): unknown => {
  if (Buffer.isBuffer(value)) return value
  if (Array.isArray(value)) return value.map(withoutMinusZero)
  if (value && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, withoutMinusZero(one)]))
  return Object.is(value, -0) ? 0 : value
}

test('what Envoy says is read as protobufjs reads it', () => {
  fc.assert(
    fc.property(request, (value) => {
      const bytes = encode(ProcessingRequest, value)
      expect(withoutMinusZero(plain(readFromEnvoy(bytes)))).toEqual(withoutMinusZero(expected(bytes)))
    }),
    { numRuns: 1_500 },
  )
})

test('fields that nobody knows yet are passed over', () => {
  const known = encode(ProcessingRequest, { request_body: { body: Buffer.from('x'), end_of_stream: true } })
  // Field 100 as a number, 101 as bytes, 102 and 103 as fixed 64 and 32 bits, 104 as a group with a number inside.
  const later = Buffer.from('a0060aaa0602ffffb1060102030405060708bd0601020304c306080ac406', 'hex')
  expect(readFromEnvoy(Buffer.concat([later, known, later]))).toEqual(readFromEnvoy(known))
})

test('damaged bytes are refused or read, never answered with anything but a ProtobufError', () => {
  let refused = 0
  fc.assert(
    fc.property(request, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }), fc.nat(), (value, hits, cut) => {
      const bytes = encode(ProcessingRequest, value)
      for (const [at, byte] of hits) if (bytes.length > 0) bytes[at % bytes.length] = byte
      try {
        readFromEnvoy(bytes.subarray(0, bytes.length - (cut % 3 === 0 ? cut % (bytes.length + 1) : 0)))
      } catch (error) {
        refused++
        expect(error).toBeInstanceOf(ProtobufError)
      }
    }),
    { numRuns: 3_000 },
  )
  expect(refused).toBeGreaterThan(100)
})

test('metadata nested deeper than anybody would is refused, not followed', () => {
  const field = (number: number, inner: Buffer): Buffer => {
    const { length } = inner
    return Buffer.concat([Buffer.from([number * 8 + 2, (length & 0x7f) | 0x80, length >> 7]), inner])
  }
  // Value { list_value 6: ListValue { values 1: Value { … } } }
  let value: Buffer = Buffer.alloc(0)
  for (let i = 0; i < 60; i++) value = field(6, field(1, value))
  const entry = Buffer.concat([field(1, Buffer.from('x-gateway-destination-endpoint-served')), field(2, value)])
  const struct = Buffer.concat([field(1, Buffer.from('envoy.lb')), field(2, field(1, entry))])
  const bytes = Buffer.concat([field(2, Buffer.alloc(0)), field(8, field(1, struct))])
  expect(() => readFromEnvoy(bytes)).toThrow(ProtobufError)
})

const side = fc.constantFrom('request' as const, 'response' as const)
const pair = fc.tuple(name, text)
/** Small ones are copied, large ones handed on. */
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 400 }).map((one) => Buffer.from(one)),
  fc.integer({ min: 4_000, max: 20_000 }).map((size) => Buffer.alloc(size, 'x')),
)
const said: fc.Arbitrary<ToEnvoy> = fc.oneof(
  fc.record({
    kind: fc.constant('headers' as const),
    side,
    setHeaders: fc.array(pair, { maxLength: 5 }),
    destination: fc.record({
      endpoints: text,
      scores: fc.dictionary(text, fc.double({ noNaN: true }), { maxKeys: 4, noNullPrototype: true }),
    }),
  }),
  fc.record({
    kind: fc.constant('headers' as const),
    side,
    setHeaders: fc.array(pair, { maxLength: 3 }),
    removeHeaders: fc.array(name, { maxLength: 3 }),
  }),
  fc.record({ kind: fc.constant('body' as const), side, body: bytes, endOfStream: fc.boolean() }),
  fc.record({ kind: fc.constantFrom('trailers' as const, 'seen' as const), side }),
  fc.record({
    kind: fc.constant('immediate' as const),
    status: fc.constantFrom(400, 404, 429, 503),
    headers: fc.array(pair, { maxLength: 3 }),
    body: text,
    details: text,
  }),
)

const joined = (messages: readonly ToEnvoy[]): Buffer => Buffer.concat(writeToEnvoy(messages))

/** The gRPC messages in a buffer. */
function framesOf(buffer: Buffer): Buffer[] {
  const found: Buffer[] = []
  for (let at = 0; at < buffer.length; at += 5 + buffer.readUInt32BE(at + 1)) {
    expect(buffer[at]).toBe(0)
    found.push(buffer.subarray(at + 5, at + 5 + buffer.readUInt32BE(at + 1)))
  }
  return found
}

const mutation = (set: readonly (readonly [string, string])[], remove: readonly string[]): unknown => ({
  ...(set.length > 0
    ? {
        set_headers: set.map(([key, value]) => ({
          header: { key, raw_value: Buffer.from(value) },
          append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
        })),
      }
    : {}),
  ...(remove.length > 0 ? { remove_headers: [...remove] } : {}),
})

/** What the library should find in our bytes. */
function meant(message: ToEnvoy): unknown {
  switch (message.kind) {
    case 'headers': {
      const { setHeaders, removeHeaders = [], destination } = message
      const response = {
        ...(setHeaders.length + removeHeaders.length > 0 ? { header_mutation: mutation(setHeaders, removeHeaders) } : {}),
        ...(destination ? { clear_route_cache: true } : {}),
      }
      return { [`${message.side}_headers`]: Object.keys(response).length > 0 ? { response } : {} }
    }
    case 'body': {
      const streamed_response = {
        ...(message.body.length > 0 ? { body: message.body } : {}),
        ...(message.endOfStream ? { end_of_stream: true } : {}),
      }
      return { [`${message.side}_body`]: { response: { body_mutation: { streamed_response } } } }
    }
    case 'seen':
      return { [`${message.side}_body`]: {} }
    case 'trailers':
      return { [`${message.side}_trailers`]: {} }
    case 'immediate':
      return {
        immediate_response: {
          status: { code: expect.anything() },
          ...(message.headers.length > 0 ? { headers: mutation(message.headers, []) } : {}),
          ...(message.body === '' ? {} : { body: Buffer.from(message.body) }),
          ...(message.details === '' ? {} : { details: message.details }),
        },
      }
  }
}

test('protobufjs reads what we write, message for message', () => {
  fc.assert(
    fc.property(fc.array(said, { minLength: 1, maxLength: 5 }), (messages) => {
      const frames = framesOf(joined(messages))
      expect(frames).toHaveLength(messages.length)
      messages.forEach((message, i) => {
        const { dynamic_metadata, ...rest } = decode(ProcessingResponse, frames[i]!)
        expect(rest).toEqual(meant(message))
        const destination = message.kind === 'headers' ? message.destination : undefined
        if (!destination) expect(dynamic_metadata).toBeUndefined()
        else
          expect(plainStruct(dynamic_metadata)).toEqual({
            'envoy.lb': {
              'x-gateway-destination-endpoint': destination.endpoints,
              'x-gateway-destination-endpoint-scores': destination.scores,
            },
          })
      })
    }),
    { numRuns: 800 },
  )
})

test('headers of a refusal and of a destination fit, however long', () => {
  const long = 'ü'.repeat(16_000)
  const frames = framesOf(
    joined([
      { kind: 'headers', side: 'request', setHeaders: [['x', long]], destination: { endpoints: long } },
      { kind: 'immediate', status: 503, headers: [['x', long]], body: long, details: long },
    ]),
  )
  expect(frames.map((frame) => Object.keys(decode(ProcessingResponse, frame)).sort())).toEqual([
    ['dynamic_metadata', 'request_headers'],
    ['immediate_response'],
  ])
})
