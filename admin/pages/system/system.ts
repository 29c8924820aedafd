import { type Answer, type Model, mayUse, type Visit } from '../../answer.ts'
import { formatBytes, formatCount, formatDuration, formatInstant, formatPercentWhole } from '../../format.ts'
import type { PageParts } from '../../routes.ts'
import { readStanding } from '../settings/reading.ts'
import { readSystem, type SystemNow } from './reading.ts'

/** The counter that the log's retention keeps (plugin/log/retention.ts). */
const REMOVED_COUNTER = 'retention: calls removed'
const RESTARTS_COUNTER = 'log.threadRestarts'
const CRASHED = 'crashed: '
const GIB = 1024 ** 3

/** What runs, what waits, what was lost, and how the databases grow. */
export async function systemPage(parts: PageParts, visit: Visit): Promise<Answer> {
  const now = await readSystem(parts, visit.nowUnixMs)
  const { file } = readStanding(parts)
  return {
    kind: 'page',
    view: 'system',
    title: 'System',
    model: {
      sub: subOf(now),
      warnings: warningsOf(now),
      mayBundle: mayUse(visit.user?.role, 'admin'),
      processes: processesOf(parts, now),
      queues: queuesOf(now),
      database: databaseOf(now, { days: file.log.retentionDays, bytes: file.log.maxGiB * GIB }),
      counters: now.counters.map(({ name, value, changedUnixMs }) => ({
        name,
        value: formatCount(value),
        at: formatInstant(changedUnixMs),
      })),
      versions: [
        ...Object.entries(now.versions),
        ['Log database', `${now.log.migrations.length} migrations, last ${now.log.migrations.at(-1)?.name ?? 'none'}`] as const,
        ['Control database', `${now.control.migrations.length} migrations, last ${now.control.migrations.at(-1) ?? 'none'}`] as const,
        ...servingModels(parts),
      ].map(([name, text]) => ({ name, text })),
    },
  }
}

function subOf({ router, routerRuns, atUnixMs, instances }: SystemNow): string {
  const all = Object.values(instances).reduce((sum, count) => sum + count, 0)
  const up = router && routerRuns ? `router up ${formatDuration(atUnixMs - router.startedUnixMs)}` : 'router not running'
  return `${up}, ${instances.healthy ?? 0} of ${all} instances healthy`
}

function warningsOf({ router, routerRuns, line, log, atUnixMs }: SystemNow): readonly string[] {
  const silent = router === undefined ? 'The router has not run on this data directory yet.' : undefined
  const gone = router && !routerRuns ? `The router was last seen ${formatDuration(atUnixMs - router.seenUnixMs)} ago.` : undefined
  const deaf = routerRuns && !line.answers ? `The router runs, but does not answer over loopback: ${line.says}.` : undefined
  const dropped =
    router && router.droppedRows > 0
      ? `${formatCount(router.droppedRows)} rows of the log were dropped since the router started.`
      : undefined
  const behind =
    log.walBytes > 256 * 1024 ** 2 ? `The log's WAL has ${formatBytes(log.walBytes)}: something reads for very long.` : undefined
  return [silent, gone, deaf, dropped, behind].filter((text) => text !== undefined)
}

function processesOf(parts: PageParts, now: SystemNow): readonly Model[] {
  const { router, routerRuns, admin, counters, atUnixMs } = now
  const count = (name: string): number => counters.find((one) => one.name === name)?.value ?? 0
  const ended = (role: string): string => {
    const times = count(CRASHED + role)
    return times === 0 ? 'never ended by itself' : `ended by itself ${formatCount(times)} ${times === 1 ? 'time' : 'times'}`
  }
  const [run] = parts.control.trainingRuns.list({ limit: 1 })
  const good = (text: string): Model => ({ text, tone: 'good' })
  return [
    { name: 'supervisor', state: good('running'), pid: admin.supervisorPid, up: undefined, note: 'starts the others again when they end' },
    {
      name: 'router',
      state: !routerRuns
        ? { text: 'not running', tone: 'bad' }
        : router?.ready
          ? good('ready')
          : { text: 'no instance ready', tone: 'warn' },
      pid: router?.pid,
      up: router && routerRuns ? formatDuration(atUnixMs - router.startedUnixMs) : undefined,
      note: ended('router'),
    },
    {
      name: 'log thread of the router',
      state: routerRuns ? good('running') : { text: 'not running', tone: 'bad' },
      pid: router?.pid,
      up: undefined,
      note: `started again ${formatCount(count(RESTARTS_COUNTER))} times`,
    },
    {
      name: 'admin',
      state: good('running'),
      pid: admin.pid,
      up: formatDuration(admin.upMs),
      note: `${formatBytes(admin.memoryBytes)} of memory, ${ended('admin')}`,
    },
    {
      name: 'trainer',
      state:
        run === undefined
          ? { text: 'never ran', tone: '' }
          : { text: run.state, tone: run.state === 'failed' ? 'bad' : run.state === 'done' ? 'good' : '' },
      pid: undefined,
      up: undefined,
      note:
        run === undefined
          ? 'runs by schedule, or when asked'
          : `last asked ${formatDuration(atUnixMs - run.askedUnixMs)} ago by ${run.askedBy}`,
    },
  ]
}

function queuesOf({ router, openIntents, line }: SystemNow): readonly Model[] {
  const held = router?.pools.reduce((sum, { hold }) => sum + (hold?.held ?? 0), 0)
  return [
    { name: 'Rows that wait to be logged', text: formatCount(router?.queueRows) },
    { name: 'Rows dropped since the router started', text: formatCount(router?.droppedRows) },
    { name: 'Calls held', text: formatCount(held) },
    { name: 'Things asked and not yet obeyed', text: formatCount(openIntents) },
    { name: 'Router over loopback', text: line.answers ? 'answers' : 'silent' },
  ]
}

function databaseOf(
  { log, control, counters, atUnixMs }: SystemNow,
  kept: { readonly days: number; readonly bytes: number },
): readonly Model[] {
  const removed = counters.find(({ name }) => name === REMOVED_COUNTER)
  const used = (log.pages - log.freePages) * log.pageBytes
  const expected = log.bytesPerDay === undefined ? undefined : Math.min(kept.bytes, log.bytesPerDay * kept.days)
  return [
    { name: 'Log', text: `${formatBytes(log.fileBytes)}, of it free ${formatBytes(log.freePages * log.pageBytes)}` },
    { name: 'Log, not yet merged (WAL)', text: formatBytes(log.walBytes) },
    { name: 'Oldest call', text: log.oldestUnixMs === undefined ? 'none yet' : `${formatDuration(atUnixMs - log.oldestUnixMs)} old` },
    { name: 'Calls in the last 24 h', text: formatCount(log.callsLastDay) },
    { name: 'Growth', text: log.bytesPerDay === undefined ? undefined : `${formatBytes(log.bytesPerDay)} a day, over what it holds` },
    {
      name: 'Kept',
      text: `${formatCount(kept.days)} d or ${formatBytes(kept.bytes)}, of it used ${formatPercentWhole(used / kept.bytes)}`,
    },
    { name: 'Will level off at', text: expected === undefined ? undefined : `about ${formatBytes(expected)}` },
    {
      name: 'Retention',
      text:
        removed === undefined
          ? 'looks each minute; nothing was old enough yet'
          : `removed ${formatCount(removed.value)} calls so far, last ${formatDuration(atUnixMs - removed.changedUnixMs)} ago`,
    },
    { name: 'Control (people, settings, models)', text: formatBytes(control.bytes) },
  ]
}

function servingModels({ control }: PageParts): readonly (readonly [string, string])[] {
  return (['length', 'policy', 'profile'] as const).map((kind) => [
    `Serving ${kind} model`,
    control.models.withAlias(kind, 'champion')?.version ?? 'the one that ships, or none',
  ])
}
