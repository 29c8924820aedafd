import { request as httpRequest } from 'node:http'
import { createIdSource } from '../../plugin/call/id.ts'
import { Desk } from '../../plugin/gateways/api/desk.ts'
import { createDirectory } from '../../plugin/gateways/api/directory.ts'
import type { PlaceRequest } from '../../plugin/gateways/api/schemas.ts'
import { createPlacementApi, type PlacementApi, type PlacementApiParts } from '../../plugin/gateways/api/server.ts'
import { FEATURE_HASH } from '../../plugin/placement/features.ts'
import type { Router } from '../../plugin/router.ts'
import { askPolicies, loggedRows } from '../../plugin/router-what-if.ts'
import { createRouterBench, type RouterBench } from '../fakes/router.ts'

/** The placement API on a real router and fleet; instances i0, i1, i2 at http://10.0.0.1:8000 and so on, nobody listens there. */

const started: { close(): unknown }[] = []

/** Ends everything that a test started. */
export async function endAll(): Promise<void> {
  for (const one of started.splice(0).reverse()) await one.close()
}

export interface ApiBench extends RouterBench {
  readonly api: PlacementApi
  readonly wishes: unknown[]
  post(path: string, body: unknown, init?: RequestInit): Promise<Answer>
  get(path: string, init?: RequestInit): Promise<Answer>
}

export interface Answer {
  readonly status: number
  readonly type: string
  readonly headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: tests read answers of every shape
  readonly body: any
}

export async function startApi(
  change: Partial<PlacementApiParts> & { readonly routerOf?: (router: Router) => Router } = {},
): Promise<ApiBench> {
  const { routerOf = (router: Router) => router, ...parts } = change
  const bench = createRouterBench()
  const wishes: unknown[] = []
  const api = await createPlacementApi({
    listen: { host: '127.0.0.1', port: 0 },
    keys: [],
    openLoopback: true,
    bodyLimitBytes: 1024 * 1024,
    settleLimitMs: 60_000,
    textFeatures: true,
    router: routerOf(bench.router),
    instances: () => bench.fleet.instances('m'),
    fleet: () => ({ pools: [] }),
    control: {
      readSwitch: () => switchOf(bench),
      turnSwitch: ({ off, askedBy }) => {
        wishes.push({ off, askedBy })
        bench.router.switchOff(off)
        return switchOf(bench)
      },
      tryInstance: ({ pool, instance }) =>
        bench.fleet.instance(pool, instance) && Promise.resolve({ works: true, status: 200, elapsedMs: 1, says: 'one token' }),
      whatIf: (asked) => {
        const rows = asked.featureHash === FEATURE_HASH ? loggedRows(asked) : undefined
        return rows && { policies: askPolicies(rows, undefined).map((one) => ({ ...one, instances: [...one.instances] })) }
      },
    },
    askDrain: (wish) => (bench.fleet.instance(wish.pool, wish.instance) ? wishes.push(wish) : undefined),
    version: 'test',
    clock: bench.clock,
    nextCallId: createIdSource(() => bench.clock.nowUnixMs()),
    count: (what) => void bench.counted.push(what),
    ...parts,
  })
  started.push({ close: () => api.close(0) })
  const ask = async (path: string, init: RequestInit): Promise<Answer> => {
    const reply = await fetch(`${api.url}${path}`, init)
    const text = await reply.text()
    return { status: reply.status, type: reply.headers.get('content-type') ?? '', headers: reply.headers, body: text && JSON.parse(text) }
  }
  return {
    ...bench,
    api,
    wishes,
    post: (path, body, init) => ask(path, { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body), ...init }),
    get: (path, init) => ask(path, init ?? {}),
  }
}

const switchOf = ({ router }: RouterBench) => ({ off: router.isOff(), pools: [] })

/** A desk without a server, for what takes time. */
export function openDesk(change: { readonly routerOf?: (router: Router) => Router; readonly settleLimitMs?: number } = {}): {
  readonly bench: RouterBench
  readonly desk: Desk
  place(request: PlaceRequest): ReturnType<Desk['place']>
} {
  const bench = createRouterBench()
  const { clock } = bench
  const desk = new Desk({
    router: (change.routerOf ?? ((router: Router) => router))(bench.router),
    directory: createDirectory({ instances: () => bench.fleet.instances('m'), nowMs: clock.nowMs }),
    clock,
    nextCallId: createIdSource(() => clock.nowUnixMs()),
    textFeatures: true,
    settleLimitMs: change.settleLimitMs ?? 60_000,
    count: (what) => void bench.counted.push(what),
  })
  started.push({ close: () => desk.close(0) })
  const place = (request: PlaceRequest): ReturnType<Desk['place']> =>
    desk.place({ request, bytes: Buffer.from(JSON.stringify(request)), keyName: 'test' })
  return { bench, desk, place }
}

/** A router that holds every call until it is told to go on. */
export function holding(): { readonly routerOf: (router: Router) => Router; release(): void } {
  let release = (): void => undefined
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  return {
    routerOf: (router) => ({
      ...router,
      place: async (call, options) => {
        await gate
        return router.place(call, options)
      },
    }),
    release,
  }
}

/** A chat body of one message. */
export const BODY = { model: 'm', messages: [{ role: 'user', content: 'Say hello.' }] }

/** Calls in flight over all instances, as the ledgers have it. */
export const inFlight = (bench: RouterBench): number => bench.fleet.rows(0).reduce((sum, row) => sum + row.inFlight, 0)

/** GET over a Unix socket. */
export function getBySocket(socketPath: string, path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    httpRequest({ socketPath, path }, (reply) => {
      reply.resume()
      resolve(reply.statusCode ?? 0)
    })
      .on('error', reject)
      .end()
  })
}
