import { systemClock } from './clock.ts'
import type { Config } from './config.ts'
import { watchDrift } from './learning/drift-watch.ts'
import type { Control } from './log/control.ts'
import { databasePath } from './log/migrate.ts'
import { openReader } from './log/read/reader.ts'
import { LEARNED } from './placement/policies.ts'

/** The running day is judged anew so often; one look reads at most 24,000 calls, by the hour, and takes about a second. */
const LOOK_MS = 60 * 60_000
/** The first look after a start: the router is up, and a first migration is through. */
const FIRST_MS = 10_000

/** Watches drift in the supervisor. Whatever fails in it is said and tried again at the next look; `stop` waits for a look under way. */
export function startDriftWatch(parts: {
  /** As it counts now. */
  readonly config: () => Config
  readonly control: Control
  readonly print: (line: string) => void
}): { stop(): Promise<void> } {
  const { control, print } = parts
  let underWay: Promise<void> = Promise.resolve()
  const look = async (): Promise<void> => {
    try {
      const config = parts.config()
      const reader = openReader(databasePath(config.dataDir, 'log'))
      try {
        const shippedPolicyServes = config.pools.some(({ policy, mode }) => policy === LEARNED && mode !== 'off')
        await watchDrift({ control, reader, nowUnixMs: systemClock.nowUnixMs(), shippedPolicyServes })
      } finally {
        reader.close()
      }
    } catch (error) {
      print(`phasewise: drift: ${error instanceof Error ? error.message : error}`)
    }
  }
  const begin = (): void => {
    underWay = underWay.then(look)
  }
  const first = setTimeout(begin, FIRST_MS)
  const timer = setInterval(begin, LOOK_MS)
  return {
    stop() {
      clearTimeout(first)
      clearInterval(timer)
      return underWay
    },
  }
}
