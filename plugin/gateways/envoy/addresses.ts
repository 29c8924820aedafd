import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { Clock } from '../../clock.ts'

export interface AddressBookParts {
  readonly clock: Clock
  /** Looks a host name up; the system's resolver unless a test says otherwise. */
  readonly lookup?: (host: string) => Promise<string>
  readonly onProblem: (what: string) => void
}

/** A name that moved is followed within this time. */
const REFRESH_MS = 10_000
/** Forgotten all at once beyond this: instances come and go. */
const ADDRESSES_MAX = 10_000

interface Entry {
  address: string
  readAtMs: number
  reading: boolean
}

/**
 * "ip:port" by an instance's url, as Envoy's ORIGINAL_DST cluster needs it: it resolves no names. Invariant: an address once known stays
 * usable while it is looked up again.
 */
export class AddressBook {
  readonly #parts: AddressBookParts
  readonly #entries = new Map<string, Entry>()

  constructor(parts: AddressBookParts) {
    this.#parts = parts
  }

  /** The address where it is known; undefined until a name was looked up. */
  known(url: string): string | undefined {
    const entry = this.#entries.get(url) ?? this.#literal(url)
    if (!entry) return undefined
    if (entry.readAtMs + REFRESH_MS < this.#parts.clock.nowMs() && !entry.reading) {
      entry.reading = true
      this.#read(url).catch(() => this.#parts.onProblem('address not found again'))
    }
    return entry.address
  }

  /** The address, looked up where it is not known yet. Rejects where the name cannot be found. */
  async find(url: string): Promise<string> {
    return this.known(url) ?? this.#read(url)
  }

  /** An address that stands in the url itself. */
  #literal(url: string): Entry | undefined {
    const { host, port } = partsOf(url)
    return isIP(host) === 0 ? undefined : this.#keep(url, { address: join(host, port), readAtMs: Number.POSITIVE_INFINITY, reading: false })
  }

  async #read(url: string): Promise<string> {
    const { host, port } = partsOf(url)
    try {
      const address = join(await (this.#parts.lookup ?? lookUp)(host), port)
      this.#keep(url, { address, readAtMs: this.#parts.clock.nowMs(), reading: false })
      return address
    } finally {
      const entry = this.#entries.get(url)
      if (entry) entry.reading = false
    }
  }

  #keep(url: string, entry: Entry): Entry {
    if (this.#entries.size >= ADDRESSES_MAX) this.#entries.clear()
    this.#entries.set(url, entry)
    return entry
  }
}

function partsOf(url: string): { readonly host: string; readonly port: string } {
  const { hostname, port, protocol } = new URL(url)
  return { host: hostname.replace(/^\[|\]$/g, ''), port: port || (protocol === 'https:' ? '443' : '80') }
}

function join(ip: string, port: string): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`
}

/** IPv4 first: most model servers listen there alone. */
async function lookUp(host: string): Promise<string> {
  const found = await lookup(host, { all: true })
  const best = found.find(({ family }) => family === 4) ?? found[0]
  if (!best) throw new Error(`${host} has no address`)
  return best.address
}
