import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import protobuf from 'protobufjs'

/**
 * protobufjs over the .proto files that ship with @grpc/grpc-js-xds: what our own reader and writer are compared with. That package is
 * older than full-duplex streaming, so the fields of later Envoys are added here (external_processor.proto of Envoy 1.35).
 */
const resolve = createRequire(import.meta.url).resolve
const deps = join(dirname(resolve('@grpc/grpc-js-xds/package.json')), 'deps')
const folders = [
  ...['envoy-api', 'xds', 'protoc-gen-validate', 'googleapis'].map((name) => join(deps, name)),
  dirname(resolve('protobufjs/package.json')),
]

const root = new protobuf.Root()
const plain = root.resolvePath
root.resolvePath = (origin, target) => {
  const found = folders.map((folder) => join(folder, target)).find((path) => existsSync(path))
  return found ?? plain.call(root, origin, target)
}
root.loadSync('envoy/service/ext_proc/v3/external_processor.proto', { keepCase: true })

const service = root.lookup('envoy.service.ext_proc.v3') as protobuf.Namespace
service.add(
  new protobuf.Type('StreamedBodyResponse').add(new protobuf.Field('body', 1, 'bytes')).add(new protobuf.Field('end_of_stream', 2, 'bool')),
)
service.add(
  new protobuf.Type('ProtocolConfiguration')
    .add(new protobuf.Field('request_body_mode', 1, 'uint32'))
    .add(new protobuf.Field('response_body_mode', 2, 'uint32')),
)
service.lookupType('BodyMutation').add(new protobuf.Field('streamed_response', 3, 'StreamedBodyResponse'))
service.lookupType('ProcessingRequest').add(new protobuf.Field('protocol_config', 11, 'ProtocolConfiguration'))

/** What Envoy sends. */
export const ProcessingRequest = service.lookupType('ProcessingRequest')
/** What the picker answers. */
export const ProcessingResponse = service.lookupType('ProcessingResponse')

/** An object as the bytes of a message of `type`. */
export function encode(type: protobuf.Type, value: Record<string, unknown>): Buffer {
  return Buffer.from(type.encode(type.fromObject(value)).finish())
}

/** A message's bytes as a plain object: texts for enums, Buffers for bytes, only fields that are there. */
export function decode(type: protobuf.Type, bytes: Buffer): Record<string, unknown> {
  return type.toObject(type.decode(bytes), { enums: String, longs: Number })
}

/** A JSON value as google.protobuf.Value. */
export function asValue(value: unknown): Record<string, unknown> {
  if (value === null) return { nullValue: 0 }
  if (typeof value === 'number') return { numberValue: value }
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  if (Array.isArray(value)) return { listValue: { values: value.map(asValue) } }
  return { structValue: structOf(value as Record<string, unknown>) }
}

/** An object as google.protobuf.Struct. */
export function structOf(value: Record<string, unknown>): Record<string, unknown> {
  return { fields: Object.fromEntries(Object.entries(value).map(([key, one]) => [key, asValue(one)])) }
}

/** A google.protobuf.Struct as decoded, back to the object. */
export function plainStruct(struct: unknown): Record<string, unknown> {
  const { fields = {} } = (struct ?? {}) as { fields?: Record<string, Record<string, unknown>> }
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, plainValue(value)]))
}

function plainValue(value: Record<string, unknown>): unknown {
  if ('numberValue' in value) return value.numberValue
  if ('stringValue' in value) return value.stringValue
  if ('boolValue' in value) return value.boolValue
  if ('structValue' in value) return plainStruct(value.structValue)
  if ('listValue' in value) return ((value.listValue as { values?: Record<string, unknown>[] }).values ?? []).map(plainValue)
  return null
}
