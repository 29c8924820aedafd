import { invalidField, Problem } from './problems.ts'
import type { Route } from './routes.ts'

/** Finds the route for a request line; throws the Problem where there is none. */
export type Switchboard = (method: string, url: string) => { readonly route: Route; readonly params: Readonly<Record<string, string>> }

interface Line {
  readonly segments: readonly string[]
  readonly routes: readonly Route[]
}

const NO_PARAMS = {}

/** Makes the switchboard over the table of routes. */
export function createSwitchboard(routes: readonly Route[]): Switchboard {
  const paths = [...new Set(routes.map((route) => route.path))]
  const lines = paths.map((path) => ({ segments: path.split('/'), routes: routes.filter((one) => one.path === path) }))
  // Most requests ask for one of a few addresses without parameters.
  const plain = new Map(lines.filter((line) => !line.segments.some(isParameter)).map((line) => [line.segments.join('/'), line]))
  return (method, url) => {
    const end = url.indexOf('?')
    const path = end < 0 ? url : url.slice(0, end)
    const direct = plain.get(path)
    if (direct) return { route: routeOf(direct, method), params: NO_PARAMS }
    const segments = path.split('/')
    for (const line of lines) {
      if (!fits(line, segments)) continue
      const route = routeOf(line, method)
      return { route, params: paramsIn(line, segments) }
    }
    throw new Problem({ kind: 'not-found', status: 404, detail: 'See /openapi.json for what there is.' })
  }
}

function isParameter(segment: string): boolean {
  return segment.startsWith('{')
}

function fits(line: Line, segments: readonly string[]): boolean {
  return (
    line.segments.length === segments.length &&
    line.segments.every((one, i) => (isParameter(one) ? segments[i] !== '' : one === segments[i]))
  )
}

function routeOf(line: Line, method: string): Route {
  const route = line.routes.find((one) => one.method === method)
  if (route) return route
  const allow = line.routes.map((one) => one.method).join(', ')
  throw new Problem({ kind: 'method-not-allowed', status: 405, detail: `Here one can ${allow}.` }, {}, { allow })
}

function paramsIn(line: Line, segments: readonly string[]): Readonly<Record<string, string>> {
  const params: Record<string, string> = {}
  line.segments.forEach((one, i) => {
    if (isParameter(one)) params[one.slice(1, -1)] = decoded(segments[i] ?? '')
  })
  return params
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    throw invalidField('', 'the address has a broken percent escape')
  }
}
