import type { z } from 'zod'
import type { PlacementError } from '../../router.ts'
import type { ProblemBody } from './schemas.ts'

/** What the API says when it cannot do as asked: problem details (RFC 9457). */

type Kind = keyof typeof TITLES

const TITLES = {
  'invalid-request': 'The request is not as described',
  unauthorized: 'No key, or one that is not known',
  forbidden: 'The key may not do this',
  'too-many-failures': 'Too many wrong keys from this address',
  'not-found': 'There is nothing at this address',
  'method-not-allowed': 'The address does not take this method',
  'unknown-placement': 'The placement is not known (any more)',
  'unknown-model': 'No pool serves the model',
  'no-known-candidate': 'None of the candidates is an instance here',
  'no-instance': 'No instance may take the call now',
  shed: 'There are more calls than can be held',
  left: 'The caller gave the call up',
  'too-large': 'The request is too large',
  'unsupported-encoding': 'The request is encoded',
  draining: 'This router is shutting down',
  overloaded: 'There are more open placements than can be kept',
  failed: 'Something broke here',
} as const

/** An answer that is not what was asked for; thrown by handlers, sent by the server. */
export class Problem extends Error {
  readonly body: ProblemBody
  readonly headers: Readonly<Record<string, string>>
  constructor(
    given: { readonly kind: Kind; readonly status: number; readonly detail: string },
    more: Partial<Pick<ProblemBody, 'errors' | 'retryAfterMs' | 'unknownCandidates'>> = {},
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(given.detail)
    this.name = 'Problem'
    const { kind, status, detail } = given
    this.body = { type: `urn:phasewise:problem:${kind}`, title: TITLES[kind], status, detail, ...more }
    this.headers =
      more.retryAfterMs === undefined ? headers : { ...headers, 'retry-after': String(Math.max(1, Math.ceil(more.retryAfterMs / 1_000))) }
  }
}

/** At most so many fields are named; a body of a million wrong ones gets a short answer too. */
const ERRORS_MAX = 20

/** 400, with a pointer to each field at fault. */
export function invalid(error: z.ZodError): Problem {
  const errors = error.issues.slice(0, ERRORS_MAX).flatMap((issue) => {
    const at = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, ERRORS_MAX).map((key) => [...issue.path, key]) : [issue.path]
    return at.map((path) => ({ pointer: pointerTo(path), detail: detailOf(issue) }))
  })
  const [first] = errors
  const detail = first ? `${first.pointer || 'the body'}: ${first.detail}` : 'The body is not as described.'
  return new Problem({ kind: 'invalid-request', status: 400, detail }, { errors })
}

/** 400 for one field. */
export function invalidField(pointer: string, detail: string): Problem {
  return new Problem(
    { kind: 'invalid-request', status: 400, detail: `${pointer || 'the body'}: ${detail}` },
    { errors: [{ pointer, detail }] },
  )
}

/** A refused placement. */
export function refusedPlacement(error: PlacementError): Problem {
  const retry = error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }
  switch (error.kind) {
    case 'unknown model':
      return new Problem({ kind: 'unknown-model', status: 404, detail: error.message })
    case 'subset empty':
    case 'no instance':
      return new Problem({ kind: 'no-instance', status: 503, detail: error.message }, retry)
    case 'shed':
      return new Problem({ kind: 'shed', status: 429, detail: error.message }, retry)
    case 'client gone':
      return new Problem({ kind: 'left', status: 409, detail: error.message })
  }
}

function pointerTo(path: readonly PropertyKey[]): string {
  return path.map((step) => `/${String(step).slice(0, 128).replace(/~/g, '~0').replace(/\//g, '~1')}`).join('')
}

function detailOf(issue: z.core.$ZodIssue): string {
  return issue.code === 'unrecognized_keys' ? 'there is no such field' : issue.message
}
