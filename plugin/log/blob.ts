/** The bytes of `values` as stored (little-endian on every machine we run on): a view, not a copy. */
export function blobOf(values: Float32Array | Uint32Array | Uint16Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}

/** The floats in a stored blob, bit for bit. A copy: SQLite's bytes need not lie where a Float32Array may start. */
export function floatsOf(blob: Uint8Array): Float32Array {
  return new Float32Array(blob.slice().buffer, 0, Math.floor(blob.byteLength / 4))
}

/** The 32-bit hashes in a stored blob. A copy. */
export function hashesOf(blob: Uint8Array): Uint32Array {
  return new Uint32Array(blob.slice().buffer, 0, Math.floor(blob.byteLength / 4))
}

/** The 16-bit numbers in a stored blob. A copy. */
export function shortsOf(blob: Uint8Array): Uint16Array {
  return new Uint16Array(blob.slice().buffer, 0, Math.floor(blob.byteLength / 2))
}
