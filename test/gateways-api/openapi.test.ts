import { Validator } from '@seriousme/openapi-schema-validator'
import fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { createRoutes } from '../../plugin/gateways/api/routes.ts'
import { bodiesFor, type Schema } from './from-schema.ts'
import { endAll, inFlight, startApi } from './setup.ts'

/** The API against its own description. */
afterEach(endAll)

interface Document {
  readonly openapi: string
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> }
}
interface Operation {
  readonly operationId?: string
  readonly requestBody?: { readonly content: { readonly 'application/json': { readonly schema: Schema } } }
  readonly responses?: Readonly<Record<string, unknown>>
}

test('the document served is valid OpenAPI 3.1 and has every route', async () => {
  const bench = await startApi({ openLoopback: false })
  const { status, body } = await bench.get('/openapi.json')
  expect(status).toBe(200)
  const checked = await new Validator().validate(body)
  expect(checked.errors ?? []).toEqual([])
  expect(body.openapi).toBe('3.1.0')
  const told = Object.entries((body as Document).paths).flatMap(([path, at]) =>
    Object.keys(at)
      .filter((one) => one !== 'parameters')
      .map((method) => `${method.toUpperCase()} ${path}`),
  )
  expect(told.sort()).toEqual(ROUTES.map((one) => `${one.method} ${one.path}`).sort())
})

// biome-ignore lint/suspicious/noExplicitAny: only the table is looked at, nothing is handled
const ROUTES = createRoutes({ control: {} } as any)
/** 100,000 by hand: FUZZ_REQUESTS=100000. */
const REQUESTS = Number(process.env.FUZZ_REQUESTS ?? 3_000)

test('whatever is sent: no fault here, only answers that the document has, and every placement is settled in the end (I1, I12)', async () => {
  const bench = await startApi()
  const { paths, components } = (await bench.get('/openapi.json')).body as Document
  const operations = Object.entries(paths).flatMap(([path, at]) =>
    Object.entries(at).flatMap(([method, operation]) => (method === 'parameters' ? [] : [{ path, method, operation }])),
  )
  const placementIds: string[] = ['NEVER']
  const segment = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom('m', 'i0', 'i1') },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', minLength: 1 }).map((text) => encodeURIComponent(text.toWellFormed())) },
  )
  const requests = fc.oneof(
    ...operations.map(({ path, method, operation }) =>
      fc.record({
        path: fc.constant(path),
        method: fc.constant(method),
        operation: fc.constant(operation),
        params: fc.array(segment, { minLength: 2, maxLength: 2 }),
        pick: fc.nat(),
        body: operation.requestBody
          ? bodiesFor(operation.requestBody.content['application/json'].schema, components.schemas)
          : fc.constant(undefined),
      }),
    ),
  )
  const statuses = new Map<string, number>()
  await fc.assert(
    fc.asyncProperty(requests, async ({ path, method, operation, params, pick, body }) => {
      let i = 0
      const url = path.replace(/\{(\w+)\}/g, (_, name) =>
        name === 'placementId' && pick % 4 > 0 ? (placementIds[pick % placementIds.length] as string) : (params[i++] as string),
      )
      const reply = await bench.get(url, { method: method.toUpperCase(), ...(body === undefined ? {} : { body }) })
      const kind = `${operation.operationId} ${reply.status}`
      statuses.set(kind, (statuses.get(kind) ?? 0) + 1)
      // A segment that a URL normalises away ('.', '..') makes another address.
      const isOther = reply.body?.type === 'urn:phasewise:problem:not-found' || reply.status === 405
      // The one right 503: candidates that the requests before reported dead.
      const isEjected =
        reply.body?.type === 'urn:phasewise:problem:no-instance' && bench.fleet.rows(0).some((row) => row.state === 'ejected')
      if (!isEjected) expect(reply.status, JSON.stringify(reply.body)).toBeLessThan(500)
      if (!isOther) expect(Object.keys(operation.responses ?? {})).toContain(String(reply.status))
      const route = ROUTES.find((one) => one.path === path && one.method === method.toUpperCase())
      const shape = route?.gives[reply.status]?.schema
      if (shape && !isOther) expect(shape.safeParse(reply.body).error?.issues ?? []).toEqual([])
      if (reply.body?.placementId) placementIds.push(reply.body.placementId)
      if (placementIds.length > 50) placementIds.splice(1, 1)
    }),
    { numRuns: REQUESTS },
  )
  // Some of each went all the way. The rarest comes about ten times, so that none at all is no chance (e^-10).
  for (const kind of ['place 200', 'place 400', 'settle 200', 'settleMany 200', 'progressMany 200', 'leave 200', 'drain 202'])
    expect(statuses.get(kind) ?? 0, JSON.stringify([...statuses])).toBeGreaterThan(0)
  expect(inFlight(bench)).toBe(bench.api.open())
  const open = bench.api.open()
  const before = bench.calls().length
  await bench.api.close(0)
  expect(inFlight(bench)).toBe(0)
  expect(bench.calls()).toHaveLength(before + open)
  expect(bench.counted.filter((what) => what.startsWith('api failed'))).toEqual([])
}, 6_000_000)
