import type { Clock } from './clock.ts'
import type { StoredKey, StoredKeys } from './gateways/api/keys.ts'
import { type Control, openControl } from './log/control.ts'

/** A key made or revoked in the admin counts here after this long at most. */
const FRESH_MS = 1_000
/** How often use is written down; the table keeps it to the minute. */
const NOTE_EVERY_MS = 20_000
/** Every statement here is on the hot path's thread: whoever holds the lock is not waited for, the next look is a moment away. */
const BUSY_TIMEOUT_MS = 0

/**
 * The admin's API keys as the router sees them: looked at when a request comes and the last look is a second old (some 20 µs), so that nothing has to be
 * restarted. Where the database cannot be read the keys seen last go on working, and that is counted.
 */
export function openStoredKeys(parts: {
  readonly path: string
  readonly clock: Clock
  readonly count: (what: string) => void
}): StoredKeys & { close(): void } {
  const { path, clock, count } = parts
  const used = new Set<number>()
  let control: Control | undefined
  let keys: readonly StoredKey[] = []
  let lookedMs = Number.NEGATIVE_INFINITY
  const open = (): Control => {
    control ??= openControl({ path, clock, busyTimeoutMs: BUSY_TIMEOUT_MS })
    return control
  }
  const look = (): void => {
    lookedMs = clock.nowMs()
    try {
      const now = open().apiKeys.usable()
      if (!isSame(now, keys)) keys = now
    } catch {
      count('api keys not read')
    }
  }
  const note = (): void => {
    try {
      for (const keyId of used) {
        open().apiKeys.used(keyId)
        used.delete(keyId)
      }
    } catch {
      // Tried again at the next turn: the set still has them.
      count('use of an api key not noted')
    }
  }
  const noting = setInterval(note, NOTE_EVERY_MS)
  noting.unref()
  return {
    usable() {
      if (clock.nowMs() - lookedMs >= FRESH_MS) look()
      return keys
    },
    used: (keyId) => void used.add(keyId),
    close() {
      clearInterval(noting)
      if (used.size > 0) note()
      control?.close()
      control = undefined
    },
  }
}

function isSame(now: readonly StoredKey[], before: readonly StoredKey[]): boolean {
  return (
    now.length === before.length && now.every((one, i) => one.keyId === before[i]?.keyId && one.scopes.join() === before[i]?.scopes.join())
  )
}
