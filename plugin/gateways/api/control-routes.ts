import type { z } from 'zod'
import * as schemas from './control-schemas.ts'
import { Problem } from './problems.ts'
import type { Route } from './routes.ts'

/** What people do to a running router, besides draining: asked of it directly, so that it works when the disk does not. */
export interface ControlParts {
  readonly readSwitch: () => schemas.SwitchAnswer
  /** Obeys at once; the record of it is kept apart and may fail. */
  readonly turnSwitch: (wish: { readonly off: boolean; readonly askedBy: string }) => schemas.SwitchAnswer
  /** Sends one real call of one token; undefined where there is no such instance. */
  readonly tryInstance: (at: { readonly pool: string; readonly instance: string }) => Promise<schemas.TryAnswer> | undefined
  /** Undefined where there is no such pool or the rows are in another column list. */
  readonly whatIf: (asked: schemas.WhatIfRequest) => schemas.WhatIfAnswer | undefined
}

/** The control side's addresses. */
export function controlRoutes({ readSwitch, turnSwitch, tryInstance, whatIf }: ControlParts): readonly Route[] {
  return [
    {
      method: 'GET',
      path: '/v1/switch',
      name: 'readSwitch',
      summary: 'Whether Phasewise is switched off, and what places each pool.',
      scope: 'read',
      gives: { 200: { schema: schemas.switchAnswer, says: 'The switch.' } },
      problems: [],
      handle: () => ({ status: 200, value: readSwitch() }),
    },
    {
      method: 'PUT',
      path: '/v1/switch',
      name: 'turnSwitch',
      summary: 'Switch Phasewise off (every pool is placed by its fallback policy) or on again. Obeyed before the answer.',
      scope: 'control',
      takes: schemas.switchRequest,
      gives: { 200: { schema: schemas.switchAnswer, says: 'The switch as it stands now.' } },
      problems: [],
      handle: ({ body, keyName }) => ({
        status: 200,
        value: turnSwitch({ ...(body as z.infer<typeof schemas.switchRequest>), askedBy: `api key ${keyName}` }),
      }),
    },
    {
      method: 'POST',
      path: '/v1/fleet/{pool}/{instance}/try',
      name: 'tryInstance',
      summary: 'Send the instance one real call of one token, past the placement, and tell what came.',
      scope: 'control',
      gives: { 200: { schema: schemas.tryAnswer, says: 'What came.' } },
      problems: [404],
      async handle({ params }) {
        const { pool = '', instance = '' } = params
        const tried = await tryInstance({ pool, instance })
        if (!tried) throw new Problem({ kind: 'not-found', status: 404, detail: `There is no instance ${instance} in a pool ${pool}.` })
        return { status: 200, value: tried }
      },
    },
    {
      method: 'POST',
      path: '/v1/what-if',
      name: 'whatIf',
      summary: 'What every policy without a memory would have chosen, given the rows that a decision saw.',
      scope: 'read',
      takes: schemas.whatIfRequest,
      gives: { 200: { schema: schemas.whatIfAnswer, says: 'One entry per policy.' } },
      problems: [404],
      handle({ body }) {
        const value = whatIf(body as schemas.WhatIfRequest)
        if (!value)
          throw new Problem({ kind: 'not-found', status: 404, detail: 'There is no such pool, or the rows are in another column list.' })
        return { status: 200, value }
      },
    },
  ]
}
