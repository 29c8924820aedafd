import { decodeHuffman } from './huffman.ts'

/** HPACK (RFC 7541), the reading half: what the picker writes are constants (see `blocks.ts`). */

/** A header block cannot be read; the connection cannot go on, for both ends' tables differ from here on. */
export class HpackError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'HpackError'
  }
}

type Field = readonly [name: string, value: string]

/** RFC 7541, appendix A. */
const STATIC_TABLE: readonly Field[] = (
  ':authority|:method=GET|:method=POST|:path=/|:path=/index.html|:scheme=http|:scheme=https|:status=200|:status=204|:status=206|' +
  ':status=304|:status=400|:status=404|:status=500|accept-charset|accept-encoding=gzip, deflate|accept-language|accept-ranges|accept|' +
  'access-control-allow-origin|age|allow|authorization|cache-control|content-disposition|content-encoding|content-language|' +
  'content-length|content-location|content-range|content-type|cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|' +
  'if-none-match|if-range|if-unmodified-since|last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|' +
  'referer|refresh|retry-after|server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate'
)
  .split('|')
  .map((entry) => {
    const [name = '', value = ''] = entry.split('=')
    return [name, value]
  })

/** An entry weighs this much more than its bytes (RFC 7541, 4.1). */
const ENTRY_OVERHEAD_BYTES = 32
/** The table a peer may use until it has seen our settings, which say 0: the RFC's default. */
const TABLE_BYTES_MAX = 4096
/** Blocks remembered as they came: Envoy opens each stream with much the same one. */
const KNOWN_BLOCKS_MAX = 256

export type HeaderList = ReadonlyMap<string, string>

/** Reads header blocks of one connection. Invariant: the dynamic table is the peer's, entry for entry. */
export class HpackReader {
  readonly #listBytesMax: number
  #table: Field[] = []
  #tableBytes = 0
  #tableBytesMax = TABLE_BYTES_MAX
  readonly #known = new Map<string, HeaderList>()

  constructor(listBytesMax: number) {
    this.#listBytesMax = listBytesMax
  }

  /** The headers of a whole block; a name given twice has its last value. Throws HpackError. */
  read(block: Buffer): HeaderList {
    // Without a table a block says the same each time.
    const contextFree = this.#tableBytesMax === 0
    const key = contextFree ? block.toString('latin1') : ''
    const known = contextFree ? this.#known.get(key) : undefined
    if (known) return known
    const headers = this.#decode(block)
    if (contextFree) {
      if (this.#known.size >= KNOWN_BLOCKS_MAX) this.#known.clear()
      this.#known.set(key, headers)
    }
    return headers
  }

  #decode(block: Buffer): HeaderList {
    const headers = new Map<string, string>()
    const at = { bytes: block, offset: 0 }
    let listBytes = 0
    while (at.offset < block.length) {
      const first = block[at.offset] as number
      if ((first & 0xe0) === 0x20) {
        if (headers.size > 0) throw new HpackError('the table is resized in the middle of a block')
        this.#resize(readInteger(at, 5))
        continue
      }
      const [name, value] = this.#field(at, first)
      listBytes += name.length + value.length + ENTRY_OVERHEAD_BYTES
      if (listBytes > this.#listBytesMax) throw new HpackError(`more than ${this.#listBytesMax} bytes of headers`)
      if (!isAllowed(name, value, headers)) headers.set(MALFORMED, name)
      headers.set(name, value)
    }
    return headers
  }

  #field(at: Position, first: number): Field {
    if (first >= 0x80) return this.#entry(readInteger(at, 7))
    const indexed = first >= 0x40
    const index = readInteger(at, indexed ? 6 : 4)
    const name = index === 0 ? readString(at) : this.#entry(index)[0]
    const field: Field = [name, readString(at)]
    if (indexed) this.#insert(field)
    return field
  }

  #entry(index: number): Field {
    const field = index <= STATIC_TABLE.length ? STATIC_TABLE[index - 1] : this.#table[index - 1 - STATIC_TABLE.length]
    if (!field) throw new HpackError(`there is no header field ${index}`)
    return field
  }

  #insert(field: Field): void {
    this.#table.unshift(field)
    this.#tableBytes += sizeOf(field)
    this.#evict()
  }

  #resize(bytes: number): void {
    if (bytes > TABLE_BYTES_MAX) throw new HpackError(`a table of ${bytes} bytes was not agreed`)
    this.#tableBytesMax = bytes
    this.#evict()
  }

  #evict(): void {
    while (this.#tableBytes > this.#tableBytesMax) this.#tableBytes -= sizeOf(this.#table.pop() as Field)
  }
}

/** Under this name, which no header can have, a list says that it is no request (RFC 9113, 8.1.1: a stream error). */
export const MALFORMED = ''

const PSEUDO: ReadonlySet<string> = new Set([':method', ':scheme', ':path', ':authority'])
const OF_HTTP1: ReadonlySet<string> = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'])

/** RFC 9113, 8.2 and 8.3: small letters, known pseudo-headers once and in front, nothing of HTTP/1's connections. */
function isAllowed(name: string, value: string, before: HeaderList): boolean {
  if (name.startsWith(':')) {
    if (!PSEUDO.has(name) || before.has(name) || value === '') return false
    for (const other of before.keys()) if (!other.startsWith(':')) return false
    return true
  }
  if (OF_HTTP1.has(name) || (name === 'te' && value !== 'trailers')) return false
  return name !== '' && name === name.toLowerCase()
}

const sizeOf = ([name, value]: Field): number => name.length + value.length + ENTRY_OVERHEAD_BYTES

interface Position {
  readonly bytes: Buffer
  offset: number
}

/** An integer whose first byte has `bits` bits for it (RFC 7541, 5.1). */
function readInteger(at: Position, bits: number): number {
  const most = 2 ** bits - 1
  let value = nextByte(at) & most
  if (value < most) return value
  for (let shift = 0; shift <= 21; shift += 7) {
    const byte = nextByte(at)
    value += (byte & 0x7f) * 2 ** shift
    if (byte < 0x80) return value
  }
  throw new HpackError('a number is too large')
}

function readString(at: Position): string {
  const huffman = ((at.bytes[at.offset] ?? 0) & 0x80) !== 0
  const length = readInteger(at, 7)
  const start = at.offset
  if (start + length > at.bytes.length) throw new HpackError('a text goes beyond its block')
  at.offset = start + length
  if (!huffman) return at.bytes.toString('latin1', start, at.offset)
  const text = decodeHuffman(at.bytes.subarray(start, at.offset))
  if (text === undefined) throw new HpackError('a text is not well coded')
  return text
}

function nextByte(at: Position): number {
  const byte = at.bytes[at.offset++]
  if (byte === undefined) throw new HpackError('the block ends inside a field')
  return byte
}
