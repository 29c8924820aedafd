import { systemClock } from './clock.ts'
import type { Config } from './config.ts'
import type { ControlParts } from './gateways/api/control-routes.ts'
import type { TryAnswer } from './gateways/api/control-schemas.ts'
import { openControl } from './log/control.ts'
import { databasePath } from './log/migrate.ts'
import type { LiveFleet } from './main-fleet.ts'
import { FEATURE_HASH } from './placement/features.ts'
import type { LiveRouter } from './router-place.ts'
import { askPolicies, becauseOf, expectTimes, loggedRows } from './router-what-if.ts'

/** What the control side of the API does in this router. */
export function controlParts(parts: {
  readonly config: Config
  readonly live: LiveFleet
  readonly router: LiveRouter
  readonly count: (what: string) => void
}): ControlParts {
  const { config, live, router, count } = parts
  const state = () => ({
    off: router.isOff(),
    pools: config.pools.map(({ name, policy, fallbackPolicy }) => ({ name, policy: router.isOff() ? fallbackPolicy : policy })),
  })
  return {
    readSwitch: state,
    turnSwitch({ off, askedBy }) {
      router.switchOff(off)
      // The record comes after the deed, and apart from it: it must work when the disk does not.
      if (askedBy !== LINE_KEY_ASKS) setImmediate(() => record(config, { off, askedBy }, count))
      return state()
    },
    tryInstance(at) {
      const instance = live.fleet.instance(at.pool, at.instance)
      const model = config.pools.find((pool) => pool.name === at.pool)?.models[0]
      return instance && model !== undefined ? tryOnce({ live, url: instance.url, model }) : undefined
    },
    whatIf(asked) {
      const pool = config.pools.find((one) => one.name === asked.pool)
      const rows = loggedRows(asked)
      if (!pool || !rows || asked.featureHash !== FEATURE_HASH) return undefined
      const because = asked.decided && becauseOf(rows, asked.decided, router.policyOf(asked.pool))
      const profileOf = router.profileOf(asked.pool)
      return {
        policies: askPolicies(rows, profileOf).map((one) => ({ ...one, instances: [...one.instances] })),
        expected: expectTimes(rows, profileOf).map(({ instance, ttftMs, e2eMs, othersMs }) => ({
          instance,
          ttftMs: finite(ttftMs),
          e2eMs: finite(e2eMs),
          othersMs: finite(othersMs),
        })),
        ...(because ? { because: { ...because, columns: [...because.columns] } } : {}),
      }
    },
  }
}

const finite = (value: number): number | null => (Number.isFinite(value) ? value : null)

/** Name of the key that the admin of this same start uses: it keeps the record itself, in its user's name. */
export const LINE_KEY = 'admin'
const LINE_KEY_ASKS = `api key ${LINE_KEY}`

function record(
  config: Config,
  { off, askedBy }: { readonly off: boolean; readonly askedBy: string },
  count: (what: string) => void,
): void {
  try {
    const control = openControl({ path: databasePath(config.dataDir, 'control'), clock: systemClock })
    try {
      control.intents.append({ kind: off ? 'switch off' : 'switch on', subject: null, askedBy })
    } finally {
      control.close()
    }
  } catch {
    count('switch without a record')
  }
}

/** An instance that takes longer for one token is of no use now. */
const TRY_MS_MAX = 30_000
const BODY_SAID_MAX = 200

/** One real call of one token, past placement and ledger: it tells whether the instance answers, not how fast it is under load. */
async function tryOnce({
  live,
  url,
  model,
}: {
  readonly live: LiveFleet
  readonly url: string
  readonly model: string
}): Promise<TryAnswer> {
  const startedMs = systemClock.nowMs()
  const authorization = live.connections.authorization(url)
  const base = new URL(url)
  try {
    const reply = await live.connections.dispatcherFor(url).request({
      origin: base.origin,
      path: `${base.pathname.replace(/\/$/, '')}/v1/chat/completions`,
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(authorization === undefined ? {} : { authorization }) },
      body: JSON.stringify({ model, max_tokens: 1, messages: [{ role: 'user', content: 'Say one word.' }] }),
      signal: AbortSignal.timeout(TRY_MS_MAX),
    })
    const text = await reply.body.text()
    const works = reply.statusCode < 300
    const says = works ? `one token of ${model}` : text.replace(/\s+/g, ' ').slice(0, BODY_SAID_MAX)
    return { works, status: reply.statusCode, elapsedMs: systemClock.nowMs() - startedMs, says }
  } catch (error) {
    const says = error instanceof Error ? error.message : String(error)
    return { works: false, status: null, elapsedMs: systemClock.nowMs() - startedMs, says: says || 'no answer' }
  }
}
