/** The few header blocks that a gRPC server says, without a table: literal fields, never indexed by the peer (RFC 7541, 6.2.2). */

/** Index in the static table of `:status 200` and of the name `content-type`. */
const STATUS_200 = 8
const CONTENT_TYPE = 31

/** Longest text whose length fits the first byte: seven bits, less the value that says "goes on". */
const TEXT_BYTES_MAX = 126

/** `:status 200` and `content-type: application/grpc`. */
export const RESPONSE_BLOCK = Buffer.concat([Buffer.from([0x80 | STATUS_200, 0x0f, CONTENT_TYPE - 0x0f]), text('application/grpc')])

/** The answer to what is not gRPC: `:status 415`. */
export const NOT_GRPC_BLOCK = Buffer.concat([Buffer.from([STATUS_200]), text('415')])

/** Trailers `grpc-status`, and `grpc-message` where there is one. */
export function trailersBlock(status: number, message: string): Buffer {
  const fields = [literal('grpc-status', String(status))]
  if (message !== '') fields.push(literal('grpc-message', percentEncoded(message)))
  return Buffer.concat(fields)
}

function literal(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0]), text(name), text(value)])
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value.slice(0, TEXT_BYTES_MAX), 'latin1')
  return Buffer.concat([Buffer.from([bytes.length]), bytes])
}

/** gRPC's encoding of a status message. */
function percentEncoded(message: string): string {
  return encodeURIComponent(message).replaceAll('%20', ' ')
}
