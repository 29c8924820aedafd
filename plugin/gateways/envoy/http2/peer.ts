import { ConnectionError, ERROR, SETTING } from './frames.ts'

/** The windows' size until something else is said (RFC 9113, 6.9.2). */
export const DEFAULT_WINDOW_BYTES = 65_535
/** The widest a window can be. */
export const WINDOW_BYTES_MAX = 0x7fffffff

/** What the peer's SETTINGS say of how to write to it. */
export interface Peer {
  readonly windowBytes: number
  readonly frameBytesMax: number
}

/** The peer before it has said anything. */
export const DEFAULT_PEER: Peer = { windowBytes: DEFAULT_WINDOW_BYTES, frameBytesMax: 16_384 }

/** The peer after a SETTINGS frame's payload. Throws ConnectionError. */
export function applySettings(before: Peer, payload: Buffer): Peer {
  if (payload.length % 6 !== 0) throw new ConnectionError('SETTINGS of an odd size', ERROR.frameSize)
  let peer = before
  for (let at = 0; at < payload.length; at += 6)
    peer = applySetting(peer, { id: payload.readUInt16BE(at), value: payload.readUInt32BE(at + 2) })
  return peer
}

function applySetting(peer: Peer, { id, value }: { readonly id: number; readonly value: number }): Peer {
  if (id === SETTING.windowBytes) {
    if (value > WINDOW_BYTES_MAX) throw new ConnectionError('a window of the setting is too wide', ERROR.flowControl)
    return { ...peer, windowBytes: value }
  }
  if (id === SETTING.frameBytesMax) {
    if (value < 16_384 || value > 16_777_215) throw new ConnectionError('a frame size that does not exist', ERROR.protocol)
    return { ...peer, frameBytesMax: value }
  }
  if (id === SETTING.push && value > 1) throw new ConnectionError('push is 0 or 1', ERROR.protocol)
  return peer
}

/** Settings as a frame's payload. */
export function settingsPayload(settings: readonly (readonly [id: number, value: number])[]): Buffer {
  const bytes = Buffer.alloc(6 * settings.length)
  settings.forEach(([id, value], i) => {
    bytes.writeUInt16BE(id, 6 * i)
    bytes.writeUInt32BE(value, 6 * i + 2)
  })
  return bytes
}

/** Four bytes, big end first. */
export function uint32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeUInt32BE(value, 0)
  return bytes
}
