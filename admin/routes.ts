import type { Clock } from '../plugin/clock.ts'
import type { ConfigParts } from '../plugin/config.ts'
import { ACCEPT_CHANGE } from '../plugin/log/control/instance-changes.ts'
import type { Control } from '../plugin/log/control.ts'
import type { Reader } from '../plugin/log/read/reader.ts'
import type { Rollups } from '../plugin/log/read/rollups.ts'
import type { TrialBlocks } from '../plugin/log/read/trials.ts'
import type { OidcDoor } from './access/oidc.ts'
import type { SessionStore } from './access/session.ts'
import type { ShownOnce } from './access/shown-once.ts'
import type { Throttle } from './access/throttle.ts'
import type { Route } from './answer.ts'
import type { FrameFacts } from './frame.ts'
import { decisionPage } from './pages/decision.ts'
import { decisionsPage } from './pages/decisions.ts'
import { exportDecisions } from './pages/decisions-export.ts'
import { askOfInstance, confirmDrain, fleetPage } from './pages/fleet.ts'
import { changeInstance, instancePage, tryInstance } from './pages/fleet-change.ts'
import type { LabDoor } from './pages/lab/plan.ts'
import { overviewPage } from './pages/overview.ts'
import { signIn, signInPage, signOut } from './pages/sign-in.ts'
import { confirmSwitch, turnSwitch } from './pages/switch.ts'
import { setTheme } from './pages/theme.ts'
import type { NightFacts } from './pages/training/training.ts'
import { welcome, welcomePage } from './pages/welcome.ts'
import type { RouterLine } from './router-line.ts'
import { accessRoutes } from './routes-access.ts'
import { learnRoutes } from './routes-learn.ts'
import { runRoutes } from './routes-run.ts'

/** What pages are made of. */
export interface PageParts {
  readonly reader: Reader
  readonly control: Control
  readonly clock: Clock
  readonly sessions: SessionStore
  readonly throttle: Throttle
  readonly rollups: Rollups
  readonly trialBlocks: TrialBlocks
  /** The router's own API. */
  readonly line: RouterLine
  /** What the Lab can play; undefined where it cannot. */
  readonly lab: LabDoor | undefined
  /** When nights are, as they are configured now. */
  readonly night: (() => NightFacts) | undefined
  readonly shownOnce: ShownOnce
  readonly oidc: OidcDoor | undefined
  readonly publicUrl: () => string
  readonly configuration: ConfigParts
  readonly facts: FrameFacts
  readonly onError: (error: unknown, url: string) => void
}

/** Every address of the admin but its assets, with who may use it. */
export function createRoutes(parts: PageParts): Route[] {
  return [
    { method: 'get', path: '/health', need: 'anyone', handle: () => health(parts) },
    { method: 'get', path: '/welcome/:token', need: 'anyone', handle: (visit) => welcomePage(parts, visit) },
    { method: 'post', path: '/welcome/:token', need: 'anyone', handle: (visit) => welcome(parts, visit) },
    { method: 'get', path: '/sign-in', need: 'anyone', handle: (visit) => signInPage(parts, visit) },
    { method: 'post', path: '/sign-in', need: 'anyone', handle: (visit) => signIn(parts, visit) },
    { method: 'post', path: '/sign-out', need: 'anyone', handle: (visit) => signOut(parts, visit) },
    { method: 'post', path: '/theme', need: 'anyone', handle: setTheme },
    { method: 'get', path: '/', need: 'viewer', handle: (visit) => overviewPage(parts, visit) },
    { method: 'get', path: '/switch', need: 'operator', handle: (visit) => confirmSwitch(parts, visit) },
    { method: 'post', path: '/switch', need: 'operator', handle: (visit) => turnSwitch(parts, visit) },
    { method: 'get', path: '/decisions', need: 'viewer', handle: (visit) => decisionsPage(parts, visit) },
    { method: 'get', path: '/decisions.csv', need: 'viewer', handle: (visit) => exportDecisions(parts, visit, 'csv') },
    { method: 'get', path: '/decisions.ndjson', need: 'viewer', handle: (visit) => exportDecisions(parts, visit, 'ndjson') },
    { method: 'get', path: '/decisions/:callId', need: 'viewer', handle: (visit) => decisionPage(parts, visit) },
    { method: 'get', path: '/fleet', need: 'viewer', handle: (visit) => fleetPage(parts, visit) },
    { method: 'get', path: '/fleet/drain', need: 'operator', handle: (visit) => confirmDrain(parts, visit) },
    { method: 'post', path: '/fleet/drain', need: 'operator', handle: (visit) => askOfInstance(parts, visit, 'drain') },
    { method: 'post', path: '/fleet/undrain', need: 'operator', handle: (visit) => askOfInstance(parts, visit, 'undrain') },
    { method: 'post', path: '/fleet/accept', need: 'operator', handle: (visit) => askOfInstance(parts, visit, ACCEPT_CHANGE) },
    { method: 'get', path: '/fleet/add', need: 'operator', handle: (visit) => instancePage(parts, visit) },
    { method: 'get', path: '/fleet/edit', need: 'operator', handle: (visit) => instancePage(parts, visit) },
    { method: 'post', path: '/fleet/change', need: 'operator', handle: (visit) => changeInstance(parts, visit) },
    { method: 'post', path: '/fleet/try', need: 'operator', handle: (visit) => tryInstance(parts, visit) },
    ...learnRoutes(parts),
    ...accessRoutes(parts),
    ...runRoutes(parts),
  ]
}

function health({ reader, control }: PageParts): { kind: 'json'; status: number; body: { status: string } } {
  reader.read((query) => query.get('SELECT 1'))
  control.users.count()
  return { kind: 'json', status: 200, body: { status: 'ok' } }
}
