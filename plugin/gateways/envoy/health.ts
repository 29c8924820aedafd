import { readHealthRequest } from './protobuf-read.ts'
import { writeHealth } from './protobuf-write.ts'

/** grpc.health.v1 for the picker: `liveness`, `readiness`, the service itself, and no name, which means the process. */

/** HealthCheckResponse.ServingStatus. */
const SERVING = 1
const NOT_SERVING = 2
const SERVICE_UNKNOWN = 3

export const PICKER_SERVICE = 'envoy.service.ext_proc.v3.ExternalProcessor'

export interface HealthParts {
  /** A call could be placed now. */
  readonly ready: () => boolean
  /** New calls are taken: not while the process drains. */
  readonly accepting: () => boolean
}

/** Status of the service named in a request's bytes; undefined for a service that is not known. Throws ProtobufError. */
export function healthOf(request: Buffer, parts: HealthParts): number | undefined {
  switch (readHealthRequest(request)) {
    case '':
    case 'liveness':
      return SERVING
    case 'readiness':
    case PICKER_SERVICE:
      return parts.ready() && parts.accepting() ? SERVING : NOT_SERVING
    default:
      return undefined
  }
}

/** The answer to a check. */
export function healthAnswer(status: number): Buffer {
  return writeHealth(status)
}

/** The answer to a watch of a service that is not known: the watch goes on. */
export const UNKNOWN_ANSWER = writeHealth(SERVICE_UNKNOWN)
