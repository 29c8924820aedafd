import { statSync } from 'node:fs'
import { type RouterNow, readFleetNow, readRouterNow } from '../plugin/log/read/now.ts'
import type { Query } from '../plugin/log/read/reader.ts'
import { type Model, mayUse, type Need, type Visit } from './answer.ts'
import { formatBytes, formatDuration } from './format.ts'
import { zoneName } from './zone.ts'

/** What the foot tells besides the log's own words. */
export interface FrameFacts {
  readonly version: string
  /** `log.sqlite`; its size is told, WAL included. */
  readonly logPath: string
  readonly retentionDays: number
}

/** The router writes each second; after this many missed ones it is taken to be gone. */
const ROUTER_GONE_AFTER_MS = 5_000

const PAGES: readonly { readonly path: string; readonly name: string; readonly group: string; readonly need?: Need }[] = [
  { path: '/', name: 'Overview', group: '' },
  { path: '/decisions', name: 'Decisions', group: 'Look' },
  { path: '/fleet', name: 'Fleet', group: '' },
  { path: '/models', name: 'Models', group: 'Learn' },
  { path: '/training', name: 'Training', group: '' },
  { path: '/lab', name: 'Lab', group: '' },
  { path: '/try', name: 'Try it', group: 'Run' },
  { path: '/settings', name: 'Settings', group: '' },
  { path: '/audit', name: 'Audit', group: '', need: 'operator' },
  { path: '/access', name: 'Access', group: '' },
  { path: '/system', name: 'System', group: '' },
]

/** The router as the pages speak of it. */
export interface RouterState {
  readonly router: RouterNow | undefined
  /** It wrote of itself in the last seconds. */
  readonly running: boolean
  /** What to tell when it does not run; undefined when it does. */
  readonly warning: string | undefined
}

/** Whether the router runs, and the words when it does not. */
export function routerState(query: Query, nowUnixMs: number): RouterState {
  const router = readRouterNow(query)
  if (router === undefined)
    return { router, running: false, warning: 'The router has not run on this data directory yet. Start it with “phasewise start”.' }
  const silentMs = nowUnixMs - router.seenUnixMs
  const running = silentMs < ROUTER_GONE_AFTER_MS
  const warning = `The router is not running: it was last seen ${formatDuration(silentMs)} ago. What is shown of the fleet is from then.`
  return { router, running, warning: running ? undefined : warning }
}

/** Navigation and foot around a signed-in visitor's page. */
export function frameModel(query: Query, visit: Visit, facts: FrameFacts): Model {
  const { router, running } = routerState(query, visit.nowUnixMs)
  const troubled = readFleetNow(query).filter((instance) => instance.state !== 'healthy').length
  const up = router === undefined ? undefined : formatDuration(visit.nowUnixMs - router.startedUnixMs)
  return {
    pages: PAGES.filter(({ need = 'viewer' }) => mayUse(visit.user?.role, need)).map(({ path, name, group }) => ({
      path,
      name,
      group,
      current: path === '/' ? visit.path === '/' : visit.path.startsWith(path),
      mark: path === '/fleet' && troubled > 0 ? { text: String(troubled), title: `${troubled} not healthy` } : undefined,
    })),
    user: visit.user && { name: visit.user.name, role: visit.user.role },
    routerText: running ? `router up ${up}` : 'router not running',
    logText: `log ${formatBytes(logBytes(facts.logPath))} · keeps ${facts.retentionDays} d`,
    version: facts.version,
    zone: zoneName(),
  }
}

const logBytes = (path: string): number =>
  [path, `${path}-wal`].reduce((sum, file) => sum + (statSync(file, { throwIfNoEntry: false })?.size ?? 0), 0)
