import type { Clock } from '../clock.ts'
import { type Door, openDoor } from './control/door.ts'
import { keepFinding } from './control/findings.ts'
import { listFleetChanges } from './control/fleet-changes.ts'
import { listInstanceChanges } from './control/instance-changes.ts'
import { createIntents, type Intents, listDrained } from './control/intents.ts'
import { readSwitchedOff } from './control/kill-switch.ts'
import type { Standing } from './messages.ts'
import type { Finding, Intent } from './rows.ts'

/** The log thread's side of `control.sqlite`: finds what was asked, marks what was answered. Each may throw while the file is busy. */
export interface IntentDesk {
  readonly standing: Standing
  /** Open intents not handed out by this desk before, oldest first. */
  fresh(): Intent[]
  /** Marks an intent; when the file is busy it is kept and marked by a later `settle`. */
  answer(intentId: number, answer: { readonly state: 'done' | 'refused'; readonly text: string }): void
  /** Keeps what the router found; done by a later `settle` while the file is busy. */
  report(finding: Finding): void
  /** Marks and keeps what could not be before. */
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
  const unkept = new Set<Finding>()
  const settle = (): void => {
    for (const finding of unkept) {
      keepFinding(door, finding, clock.nowUnixMs())
      unkept.delete(finding)
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
      instanceChanges: listInstanceChanges(door),
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
    report(finding) {
      unkept.add(finding)
      settle()
    },
    settle,
    close: () => door.close(),
  }
}
