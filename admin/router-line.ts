/** The router's own API, asked directly: for what must work when the disk does not, and for what must not be stored. */
export interface RouterLine {
  /** Never rejects: a router that cannot be reached is an answer too. `body` is sent as JSON. */
  ask(request: LineRequest): Promise<LineAnswer>
}

export interface LineRequest {
  readonly method: 'GET' | 'POST' | 'PUT'
  /** Below the router's address, e.g. '/v1/switch'. */
  readonly path: string
  readonly body?: unknown
  /** ANSWER_MS when absent. */
  readonly withinMs?: number
}

export type LineAnswer =
  | { readonly kind: 'answered'; readonly status: number; readonly body: unknown }
  /** In words. */
  | { readonly kind: 'unreachable'; readonly why: string }

/** The router answers from memory within a few ms: one that takes this long is stuck. */
const ANSWER_MS = 1_000

/** A line to the router at `url` with the key of this start; without them nothing is ever reached. */
export function createRouterLine(at: { readonly url: string; readonly key: string } | undefined): RouterLine {
  return {
    async ask({ method, path, body, withinMs = ANSWER_MS }) {
      if (at === undefined) return { kind: 'unreachable', why: 'this admin was started without a router' }
      try {
        const response = await fetch(at.url + path, {
          method,
          headers: { authorization: `Bearer ${at.key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
          signal: AbortSignal.timeout(withinMs),
        })
        return { kind: 'answered', status: response.status, body: await response.json() }
      } catch (error) {
        const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
        return { kind: 'unreachable', why: cause instanceof Error ? cause.message : String(cause) }
      }
    },
  }
}
