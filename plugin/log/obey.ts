import type { Clock } from '../clock.ts'
import { type Door, openDoor } from './control/door.ts'
import { listFleetChanges } from './control/fleet-changes.ts'
import { createIntents, type Intents, listDrained } from './control/intents.ts'
import { readSwitchedOff } from './control/kill-switch.ts'
import { endTrial, TRIAL_RUNNER } from './control/trials.ts'
import type { Standing } from './messages.ts'
import type { Intent, TrialEnding } from './rows.ts'

/** The log thread's side of `control.sqlite`: finds what was asked, marks what was answered. Each may throw while the file is busy. */
export interface IntentDesk {
  readonly standing: Standing
  /** Open intents not handed out by this desk before, oldest first. */
  fresh(): Intent[]
  /** Marks an intent; when the file is busy it is kept and marked by a later `settle`. */
  answer(intentId: number, answer: { readonly state: 'done' | 'refused'; readonly text: string }): void
  /** Ends a trial for the router; kept and done by a later `settle` while the file is busy. */
  endTrial(ending: TrialEnding): void
  /** Marks and ends what could not be before. */
  settle(): void
  close(): void
}

/** A write here waits no longer than this for another process: the next look is a moment away. */
const BUSY_TIMEOUT_MS = 50

/** Opens `control.sqlite` at `path`; throws when it is missing or busy. */
export function openIntentDesk(parts: { readonly path: string; readonly clock: Clock; readonly kinds?: readonly string[] }): IntentDesk {
  const { path, clock, kinds } = parts
  const door: Door = openDoor({ path, busyTimeoutMs: BUSY_TIMEOUT_MS })
  const intents: Intents = createIntents(door, clock)
  const handedOut = new Set<number>()
  const unmarked = new Map<number, { readonly state: 'done' | 'refused'; readonly text: string }>()
  const unended = new Set<TrialEnding>()
  const settle = (): void => {
    for (const ending of unended) {
      door.together(() => endTrial(door, { ...ending, by: TRIAL_RUNNER }, clock.nowUnixMs()))
      unended.delete(ending)
    }
    for (const [intentId, answer] of unmarked) {
      intents.answer(intentId, answer)
      unmarked.delete(intentId)
      handedOut.delete(intentId)
    }
  }
  return {
    standing: {
      drained: listDrained(door).map(({ pool, instance }) => ({ pool, instance })),
      isOff: readSwitchedOff(door) !== undefined,
      fleetChanges: listFleetChanges(door),
    },
    fresh() {
      const fresh = intents.open(kinds).filter(({ intentId }) => !handedOut.has(intentId))
      for (const { intentId } of fresh) handedOut.add(intentId)
      return fresh
    },
    answer(intentId, answer) {
      unmarked.set(intentId, answer)
      settle()
    },
    endTrial(ending) {
      unended.add(ending)
      settle()
    },
    settle,
    close: () => door.close(),
  }
}
