import type { Clock } from '../clock.ts'
import { type ApiKeys, createApiKeys } from './control/api-keys.ts'
import { type Audit, createAudit, createSettings, type Settings } from './control/audit.ts'
import { type Door, openDoor } from './control/door.ts'
import { createDrift, type Drift } from './control/drift.ts'
import { type FleetChange, listFleetChanges } from './control/fleet-changes.ts'
import { type InstanceChange, listInstanceChanges } from './control/instance-changes.ts'
import { createIntents, type DrainedInstance, type Intents, listDrained } from './control/intents.ts'
import { readSwitchedOff, type SwitchedOff } from './control/kill-switch.ts'
import { createLabRuns, type LabRuns } from './control/lab.ts'
import { createModels, type Models } from './control/models.ts'
import { createNotices, type Notices } from './control/notices.ts'
import { createSessions, createSignInLinks, createUsers, type Sessions, type SignInLinks, type Users } from './control/people.ts'
import { readSetAside, readTakenUp, type SetAside } from './control/set-aside.ts'
import { createTrainingRuns, type TrainingRuns } from './control/training.ts'
import { createTrials, type Trials } from './control/trials.ts'

/** `control.sqlite`: what people and processes decide. Every method is one tiny transaction of its own. */
export interface Control {
  readonly users: Users
  readonly signInLinks: SignInLinks
  readonly sessions: Sessions
  readonly apiKeys: ApiKeys
  readonly audit: Audit
  readonly intents: Intents
  readonly settings: Settings
  readonly models: Models
  readonly trainingRuns: TrainingRuns
  readonly trials: Trials
  readonly notices: Notices
  readonly labRuns: LabRuns
  readonly drift: Drift
  /** Instances drained by intent; written when the intent is marked done. */
  drained(): DrainedInstance[]
  /** Who switched Phasewise off by intent; undefined while it is on. */
  switchedOff(): SwitchedOff | undefined
  /** Why the learned policy does not decide; undefined while it may. */
  setAside(): SetAside | undefined
  /** When it was last taken up again; 0 where it never was. */
  takenUp(): number
  /** The file itself: for System. */
  describe(): { readonly pageBytes: number; readonly pages: number; readonly migrations: readonly string[] }
  /** What people changed of the fleet by hand. */
  fleetChanges(): FleetChange[]
  /** Instances that the router noticed to be not what they were. */
  instanceChanges(): InstanceChange[]
  /** All of `act` or nothing of it, e.g. a deed and its audit row. Keep it tiny: admin, trainer and router share one write lock. */
  together<T>(act: () => T): T
  close(): void
}

/** How long an admin or trainer write waits for another's: theirs take under a millisecond, so a longer wait means something is wrong. */
export const CONTROL_BUSY_TIMEOUT_MS = 2_000

/** Opens `control.sqlite` at `path`, made before by the migrations. Throws when it is missing. */
export function openControl(parts: { readonly path: string; readonly clock: Clock; readonly busyTimeoutMs?: number }): Control {
  const { path, clock, busyTimeoutMs = CONTROL_BUSY_TIMEOUT_MS } = parts
  const door = openDoor({ path, busyTimeoutMs })
  const users = createUsers(door, clock)
  return {
    users,
    signInLinks: createSignInLinks(door, clock),
    sessions: createSessions(door, clock, users),
    apiKeys: createApiKeys(door, clock),
    audit: createAudit(door, clock),
    intents: createIntents(door, clock),
    settings: createSettings(door, clock),
    models: createModels(door, clock),
    trainingRuns: createTrainingRuns(door, clock),
    trials: createTrials(door, clock),
    notices: createNotices(door, clock),
    labRuns: createLabRuns(door, clock),
    drift: createDrift(door, clock),
    drained: () => listDrained(door),
    switchedOff: () => readSwitchedOff(door),
    setAside: () => readSetAside(door),
    takenUp: () => readTakenUp(door),
    describe: () => describeFile(door),
    fleetChanges: () => listFleetChanges(door),
    instanceChanges: () => listInstanceChanges(door),
    together: (act) => door.together(act),
    close: () => door.close(),
  }
}

function describeFile(door: Door): ReturnType<Control['describe']> {
  const number = (sql: string): number => door.get<{ n: number }>(sql)?.n ?? 0
  return {
    pageBytes: number('SELECT page_size AS n FROM pragma_page_size'),
    pages: number('SELECT page_count AS n FROM pragma_page_count'),
    migrations: door.all<{ name: string }>('SELECT name FROM migration ORDER BY version').map(({ name }) => name),
  }
}
