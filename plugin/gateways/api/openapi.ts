import { z } from 'zod'
import * as control from './control-schemas.ts'
import type { Route } from './routes.ts'
import * as schemas from './schemas.ts'

/** The OpenAPI 3.1 document, made from the table of routes and the schemas that check requests. */

/** Schemas that stand in the document under their own name. */
const NAMED = [
  schemas.placed,
  schemas.held,
  schemas.placeRequest,
  schemas.placeAnswer,
  schemas.outcomeReport,
  schemas.outcomeBatch,
  schemas.progressBatch,
  schemas.progressAnswer,
  schemas.settledAnswer,
  schemas.batchAnswer,
  schemas.fleetAnswer,
  schemas.healthAnswer,
  schemas.drainRequest,
  schemas.drainAnswer,
  control.switchRequest,
  control.switchAnswer,
  control.tryAnswer,
  control.whatIfRequest,
  control.whatIfAnswer,
  schemas.problem,
] as const

type Json = Readonly<Record<string, unknown>>

/** The document as plain data. */
export function describeApi(routes: readonly Route[], version: string): Json {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Phasewise placement API',
      version,
      description: 'Ask which instance should serve a call, and report how it ended.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    security: [{ key: [] }],
    paths: pathsOf(routes),
    components: {
      schemas: namedSchemas(),
      responses: {
        Problem: { description: 'A problem.', content: { 'application/problem+json': { schema: reference(schemas.problem) } } },
      },
      securitySchemes: { key: { type: 'http', scheme: 'bearer', description: 'Scopes: place, read, control.' } },
    },
  }
}

function pathsOf(routes: readonly Route[]): Json {
  const paths: Record<string, Record<string, unknown>> = {}
  for (const route of routes) {
    paths[route.path] ??= parametersOf(route.path)
    const at = paths[route.path]
    if (at) at[route.method.toLowerCase()] = operationOf(route)
  }
  return paths
}

function parametersOf(path: string): Record<string, unknown> {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1])
  if (names.length === 0) return {}
  return { parameters: names.map((name) => ({ name, in: 'path', required: true, schema: { type: 'string', minLength: 1 } })) }
}

/** What every address may answer: a bad request line or body, no key, a key that may not, too many wrong keys, too much, a fault here. */
const EVERYWHERE = { body: [400, 413, 415], scope: [401, 403, 429], always: [500] } as const

function operationOf(route: Route): Json {
  const { name, summary, scope, takes, gives, problems } = route
  const hasParameters = route.path.includes('{')
  const statuses = [
    ...(takes ? EVERYWHERE.body : []),
    ...(hasParameters ? [400] : []),
    ...(scope ? EVERYWHERE.scope : []),
    ...EVERYWHERE.always,
    ...problems,
  ]
  const problem = { $ref: '#/components/responses/Problem' }
  const wrong = Object.fromEntries([...new Set(statuses)].sort((a, b) => a - b).map((status) => [status, problem]))
  const right = Object.fromEntries(
    Object.entries(gives).map(([status, { schema, says }]) => [
      status,
      { description: says, content: { 'application/json': { schema: reference(schema) } } },
    ]),
  )
  return {
    operationId: name,
    summary,
    ...(scope ? { description: `Needs a key with the scope "${scope}".` } : { security: [] }),
    ...(takes ? { requestBody: { required: true, content: { 'application/json': { schema: reference(takes) } } } } : {}),
    responses: { ...wrong, ...right },
  }
}

function reference(schema: z.ZodType): Json {
  return { $ref: `#/components/schemas/${idOf(schema)}` }
}

function idOf(schema: z.ZodType): string {
  const id = schema.meta()?.id
  if (id === undefined) throw new Error('a schema of the API has no name')
  return id
}

/** The named schemas as JSON Schema (2020-12, the dialect of OpenAPI 3.1), which refer to each other by name. */
function namedSchemas(): Json {
  const registry = z.registry<{ id: string }>()
  for (const schema of NAMED) registry.add(schema, { id: idOf(schema) })
  const { schemas: made } = z.toJSONSchema(registry, { io: 'input', target: 'draft-2020-12', uri: (id) => `#/components/schemas/${id}` })
  return Object.fromEntries(Object.entries(made).map(([id, { $schema: _dialect, $id: _uri, ...own }]) => [id, own]))
}
