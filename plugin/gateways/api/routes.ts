import type { z } from 'zod'
import { unknownPlacement } from './answers.ts'
import { type ControlParts, controlRoutes } from './control-routes.ts'
import type { CallName, Desk } from './desk.ts'
import { Problem } from './problems.ts'
import type { Scope } from './schemas.ts'
import * as schemas from './schemas.ts'

/** Every address of the API: who may use it, what it takes and gives. The server obeys this table and the OpenAPI document is made from it. */

/** What a handler gets: path parameters, the checked body (undefined where none is taken) and its bytes. */
export interface Visit {
  readonly params: Readonly<Record<string, string>>
  readonly body: unknown
  readonly bytes: Buffer
  readonly keyName: string
}

export interface Answered {
  readonly status: number
  readonly value: unknown
  readonly headers?: Readonly<Record<string, string>>
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Segments in braces are parameters. */
  readonly path: string
  readonly name: string
  readonly summary: string
  /** Absent: anybody who reaches the address. */
  readonly scope?: Scope
  readonly takes?: z.ZodType
  readonly gives: Readonly<Record<number, { readonly schema: z.ZodType; readonly says: string }>>
  /** Statuses of problems beyond those that every address has. */
  readonly problems: readonly number[]
  handle(visit: Visit): Answered | Promise<Answered>
}

export interface RouteParts {
  readonly desk: Desk
  readonly ready: () => boolean
  readonly version: string
  readonly fleet: () => schemas.FleetAnswer
  /** Notes the wish that an instance takes no (or again) calls; gives the note's id. Undefined where there is no such instance. */
  readonly askDrain: (wish: {
    readonly pool: string
    readonly instance: string
    readonly drained: boolean
    readonly askedBy: string
  }) => number | undefined
  readonly control: ControlParts
}

/** The table over its parts. */
export function createRoutes(parts: RouteParts): readonly Route[] {
  return [...placementRoutes(parts.desk), ...fleetRoutes(parts), ...controlRoutes(parts.control)]
}

const ok = (value: unknown): Answered => ({ status: 200, value })

/** For gateways that read headers but no JSON, such as nginx: the instance's address and the placement's id stand there too. */
function placedAnswer(value: schemas.Placed | schemas.Held): Answered {
  const id = value.placementId === null ? {} : { 'x-phasewise-placement': value.placementId }
  return { status: 200, value, headers: value.held ? id : { ...id, 'x-phasewise-instance': value.instance.url } }
}

function placementRoutes(desk: Desk): readonly Route[] {
  const idOf = (visit: Visit): CallName => ({ id: visit.params.placementId ?? '' })
  const placed = { schema: schemas.placeAnswer, says: 'The placement, or that the call is held.' }
  return [
    {
      method: 'POST',
      path: '/v1/placements',
      name: 'place',
      summary: 'Ask which instance should serve a call.',
      scope: 'place',
      takes: schemas.placeRequest,
      gives: { 200: placed },
      problems: [404, 409, 429, 503],
      handle: async ({ body, bytes, keyName }) => placedAnswer(await desk.place({ request: body as schemas.PlaceRequest, bytes, keyName })),
    },
    {
      method: 'GET',
      path: '/v1/placements/{placementId}',
      name: 'readPlacement',
      summary: 'Ask again for a call that was held.',
      scope: 'place',
      gives: { 200: placed },
      problems: [404, 409, 429, 503],
      handle: ({ params }) => placedAnswer(desk.state(params.placementId ?? '')),
    },
    {
      method: 'DELETE',
      path: '/v1/placements/{placementId}',
      name: 'leave',
      summary: 'Give a call up: its caller left, or it was not sent.',
      scope: 'place',
      gives: { 200: { schema: schemas.settledAnswer, says: 'The placement is closed.' } },
      problems: [404],
      handle: ({ params }) => ok({ state: desk.leave(params.placementId ?? ''), placementId: params.placementId }),
    },
    {
      method: 'POST',
      path: '/v1/placements/{placementId}/outcome',
      name: 'settle',
      summary: 'Report how a call ended. Repeating the report changes nothing.',
      scope: 'place',
      takes: schemas.outcomeReport,
      gives: { 200: { schema: schemas.settledAnswer, says: 'The report was booked, now or before.' } },
      problems: [404],
      handle(visit) {
        const state = desk.settle(idOf(visit), visit.body as schemas.OutcomeReport)
        if (state === 'unknown placement') throw unknownPlacement()
        return ok({ state, placementId: visit.params.placementId })
      },
    },
    {
      method: 'POST',
      path: '/v1/outcomes',
      name: 'settleMany',
      summary: 'Report how many calls ended, each by placement id or by key.',
      scope: 'place',
      takes: schemas.outcomeBatch,
      gives: { 200: { schema: schemas.batchAnswer, says: 'What became of each report, in order.' } },
      problems: [],
      handle: ({ body }) => ok({ results: (body as z.infer<typeof schemas.outcomeBatch>).outcomes.map((one) => settleOne(desk, one)) }),
    },
    {
      method: 'POST',
      path: '/v1/progress',
      name: 'progressMany',
      summary: 'Tell of calls that run: their first token came. Worth it for streams; without it placement goes by the usual pace.',
      scope: 'place',
      takes: schemas.progressBatch,
      gives: { 200: { schema: schemas.progressAnswer, says: 'What became of each, in order.' } },
      problems: [],
      handle: ({ body }) => ok({ results: (body as z.infer<typeof schemas.progressBatch>).calls.map((one) => progressOne(desk, one)) }),
    },
  ]
}

function progressOne(
  desk: Desk,
  { placementId, key, ...report }: z.infer<typeof schemas.progressBatch>['calls'][number],
): { readonly state: schemas.ProgressState } {
  return { state: desk.progress(placementId === undefined ? { key: key ?? '' } : { id: placementId }, report) }
}

function settleOne(
  desk: Desk,
  { placementId, key, ...report }: z.infer<typeof schemas.outcomeBatch>['outcomes'][number],
): { readonly state: schemas.SettledState } {
  return { state: desk.settle(placementId === undefined ? { key: key ?? '' } : { id: placementId }, report) }
}

function fleetRoutes({ desk, ready, version, fleet, askDrain }: RouteParts): readonly Route[] {
  return [
    {
      method: 'GET',
      path: '/v1/fleet',
      name: 'readFleet',
      summary: 'The instances of all pools and what is known of them.',
      scope: 'read',
      gives: { 200: { schema: schemas.fleetAnswer, says: 'The fleet.' } },
      problems: [],
      handle: () => ok(fleet()),
    },
    {
      method: 'PUT',
      path: '/v1/fleet/{pool}/{instance}',
      name: 'drain',
      summary: 'Drain an instance, or take it in again. Noted as an intent, which the router obeys within a second.',
      scope: 'control',
      takes: schemas.drainRequest,
      gives: { 202: { schema: schemas.drainAnswer, says: 'The wish is noted.' } },
      problems: [404],
      handle({ params, body, keyName }) {
        const { pool = '', instance = '' } = params
        const { drained } = body as z.infer<typeof schemas.drainRequest>
        const intentId = askDrain({ pool, instance, drained, askedBy: `api key ${keyName}` })
        if (intentId === undefined)
          throw new Problem({ kind: 'not-found', status: 404, detail: `There is no instance ${instance} in a pool ${pool}.` })
        return { status: 202, value: { intentId } }
      },
    },
    {
      method: 'GET',
      path: '/v1/health',
      name: 'readHealth',
      summary: 'Whether this router can place calls. Needs no key.',
      gives: {
        200: { schema: schemas.healthAnswer, says: 'Ready.' },
        503: { schema: schemas.healthAnswer, says: 'No instance may take calls.' },
      },
      problems: [],
      handle() {
        const value = { ready: ready(), version, open: desk.open, held: desk.held }
        return { status: value.ready ? 200 : 503, value }
      },
    },
  ]
}
