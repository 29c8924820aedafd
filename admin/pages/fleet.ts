import { FLEET_INTENTS } from '../../plugin/log/control/fleet-changes.ts'
import { ACCEPT_CHANGE, type InstanceChange } from '../../plugin/log/control/instance-changes.ts'
import type { IntentRecord } from '../../plugin/log/control/intents.ts'
import { type InstanceNow, type PoolNow, readCallsByInstance, readFleetNow } from '../../plugin/log/read/now.ts'
import { readShares } from '../../plugin/log/read/shares.ts'
import { type Answer, type Model, mayUse, type Visit } from '../answer.ts'
import { formatCount, formatDuration, formatInstant, formatNumber, formatPercent, formatPercentWhole, known } from '../format.ts'
import { routerState } from '../frame.ts'
import { waitForAnswer } from '../intents.ts'
import type { PageParts } from '../routes.ts'
import { changeNotice, changesOf, changeWords } from './fleet-change.ts'
import { learnedProfiles } from './fleet-profiles.ts'
import { explainedShare, shareAlarm } from './fleet-shares.ts'
import { stateTone } from './tone.ts'

/** Shares are of the calls that arrived in this last time. */
const SHARE_WINDOW_MS = 15 * 60_000

/** What people can ask of an instance. */
const KINDS = ['drain', 'undrain', ACCEPT_CHANGE] as const
type Kind = (typeof KINDS)[number]
const ASKED: Readonly<Record<Kind, string>> = { drain: 'Drain', undrain: 'Undrain', [ACCEPT_CHANGE]: 'Take as it is:' }

/** Every instance as the router knows it now, with what people may do. */
export function fleetPage(parts: PageParts, visit: Visit): Answer {
  const now = visit.nowUnixMs
  const look = parts.reader.read((query) => ({
    state: routerState(query, now),
    fleet: readFleetNow(query),
    calls: readCallsByInstance(query, now - SHARE_WINDOW_MS),
    shares: readShares(query, now - SHARE_WINDOW_MS),
  }))
  const asked = parts.control.intents.open([...KINDS, ...Object.keys(FLEET_INTENTS)])
  const changes = parts.control.fleetChanges()
  const drained = parts.control.drained()
  const noticed = parts.control.instanceChanges()
  // Where a drain is done and the router's next word on the fleet not here yet, the drain is the newer word.
  const fleet = look.fleet.map((one) => {
    const since = drained.find((row) => row.pool === one.pool && row.instance === one.name)?.sinceUnixMs ?? 0
    return one.seenUnixMs <= since ? { ...one, state: 'draining' } : one
  })
  const mayAct = mayUse(visit.user?.role, 'operator')
  const rows = (pool: string): Model[] => {
    const mine = fleet.filter((one) => one.pool === pool)
    const total = mine.reduce((sum, one) => sum + (look.calls.get(one.instanceId) ?? 0), 0)
    return mine.map((one) => {
      const pending = asked.findLast(({ subject }) => isAbout(subject, one))
      const since = drained.find((row) => row.pool === pool && row.instance === one.name)
      const isDrained = since !== undefined
      const other = noticed.find((row) => row.pool === pool && row.instance === one.name)
      return {
        ...instanceModel({
          one,
          now,
          total,
          calls: look.calls.get(one.instanceId) ?? 0,
        }),
        pending: pending && `${pending.kind} asked by ${pending.askedBy}, waiting for the router`,
        drainedBy: since && `drained by ${since.by} since ${formatInstant(since.sinceUnixMs).text}`,
        mayDrain: mayAct && pending === undefined && !isDrained,
        mayUndrain: mayAct && pending === undefined && isDrained,
        drainHref: `/fleet/drain?${new URLSearchParams({ pool, instance: one.name })}`,
        change: changeWords(changes.find((change) => change.pool === pool && change.instance === one.name)),
        editHref: mayAct ? `/fleet/edit?${new URLSearchParams({ pool, instance: one.name })}` : undefined,
        noticed: other && noticedModel(other),
        mayAccept: other !== undefined && mayAct && pending === undefined,
        explained: explainedShare(look.shares.get(pool), one.instanceId),
        alarm: shareAlarm(look.shares.get(pool), one.instanceId),
      }
    })
  }
  const pools = [...new Set(fleet.map((one) => one.pool))].map((pool) => {
    const facts = look.state.router?.pools.find((one) => one.name === pool)
    return {
      name: pool,
      policy: facts?.policy,
      models: facts?.models.join(', '),
      holds: facts && holdWords(facts.hold),
      instances: rows(pool),
      profiles: learnedProfiles(parts.control, pool),
      addHref: mayAct ? `/fleet/add?${new URLSearchParams({ pool })}` : undefined,
      changes: changesOf(
        changes.filter((change) => change.pool === pool),
        mayAct,
      ),
    }
  })
  return {
    kind: 'page',
    view: 'fleet',
    title: 'Fleet',
    model: {
      warning: look.state.warning,
      notice: changeNotice(parts, visit) ?? noticeOf(parts, visit, look.state.running),
      sub: subOf(fleet, pools.length),
      pools,
      mayAct,
    },
  }
}

/** What the router noticed of an instance that is not what it was. */
function noticedModel({ factor, words, noticedUnixMs }: InstanceChange): Model {
  const times = formatNumber(factor > 1 ? factor : 1 / factor)
  return { text: `${times} × ${factor > 1 ? 'slower' : 'faster'} than it was`, words, at: formatInstant(noticedUnixMs) }
}

/** How the pool holds calls, in words. */
function holdWords(hold: PoolNow['hold']): string {
  if (!hold) return 'holds no calls'
  if (hold.offReason !== undefined) return `holds no calls: ${hold.offReason}`
  return `holds by ${hold.order} when saturated, ${hold.held === 0 ? 'none' : formatCount(hold.held)} now`
}

function isAbout(subject: unknown, one: InstanceNow): boolean {
  const { pool, instance } = (typeof subject === 'object' && subject !== null ? subject : {}) as { pool?: unknown; instance?: unknown }
  return pool === one.pool && instance === one.name
}

function subOf(fleet: readonly InstanceNow[], pools: number): string {
  const states = new Map<string, number>()
  for (const { state } of fleet) states.set(state, (states.get(state) ?? 0) + 1)
  const words = [...states].sort(([, a], [, b]) => b - a).map(([state, count]) => `${count} ${state}`)
  return [`${pools} ${pools === 1 ? 'pool' : 'pools'}`, ...words].join(', ')
}

function instanceModel(parts: { readonly one: InstanceNow; readonly now: number; readonly total: number; readonly calls: number }): Model {
  const { one, now, total, calls } = parts
  const scraped = known(one.scrapeAgeMs)
  return {
    id: one.instanceId,
    name: one.name,
    pool: one.pool,
    // Plain http is what instances speak; anything else is worth its letters.
    address: one.url.replace(/^http:\/\//, ''),
    state: { text: one.state, tone: stateTone(one.state) },
    reason: one.stateReason ?? undefined,
    slowStart: one.slowStartRatio < 1 ? `slow start ${formatPercentWhole(one.slowStartRatio)}` : undefined,
    inFlight: formatCount(one.inFlight),
    prefill: formatCount(Math.round(one.prefillTokensPending)),
    outputLeft: formatCount(Math.round(one.outputTokensLeft)),
    waiting: formatCount(one.waiting),
    running: formatCount(one.running),
    kvUse: formatPercentWhole(one.kvUsageRatio),
    foreign: formatCount(one.foreignInFlight),
    prefixHit: formatPercentWhole(one.prefixHitRatio),
    scrapeAge: formatDuration(scraped === undefined ? undefined : scraped + Math.max(0, now - one.seenUnixMs)),
    share: total === 0 ? undefined : formatPercent(calls / total),
    expected: formatPercent(one.expectedShareRatio),
    speed: formatNumber(one.speed),
    weight: formatNumber(one.weight),
  }
}

/** What came of the intent that the address names: what was asked is told until it is done. */
function noticeOf({ control }: PageParts, visit: Visit, running: boolean): Model | undefined {
  const intent = visit.query.asked === undefined ? undefined : control.intents.get(Number(visit.query.asked))
  if (intent === undefined || !KINDS.some((kind) => kind === intent.kind)) return undefined
  const what = `${ASKED[intent.kind as Kind]} ${instanceOf(intent)}`
  if (intent.state === 'done') return { tone: 'good', text: `${what}: done. ${intent.answer ?? ''}`.trim(), href: undefined }
  if (intent.state === 'refused') return { tone: 'bad', text: `${what}: refused. ${intent.answer ?? ''}`.trim(), href: undefined }
  const wait = running ? 'waiting for the router.' : 'the router does it when it is back.'
  return { tone: 'warn', text: `${what}: asked, ${wait}`, href: visit.url }
}

const instanceOf = ({ subject }: IntentRecord): string =>
  typeof subject === 'object' && subject !== null && 'instance' in subject ? String(subject.instance) : ''

/** States in which an instance takes new calls. */
const TAKES_CALLS: ReadonlySet<string> = new Set(['healthy', 'degraded', 'recovering'])

/** Asks whether the drain is meant, and tells what it does. */
export function confirmDrain(parts: PageParts, visit: Visit): Answer {
  const fleet = parts.reader.read(readFleetNow)
  const one = fleet.find((row) => row.pool === visit.query.pool && row.name === visit.query.instance)
  if (one === undefined) return unknownInstance(visit.query)
  const left = fleet.filter((row) => row.pool === one.pool && row !== one && TAKES_CALLS.has(row.state))
  return {
    kind: 'page',
    view: 'drain',
    title: `Drain ${one.name}?`,
    model: {
      name: one.name,
      pool: one.pool,
      inFlight: formatCount(one.inFlight),
      one: one.inFlight === 1,
      left: left.map((row) => row.name).join(', '),
      leftCount: left.length,
    },
  }
}

/** Writes what is asked into the intents, with its audit row, and gives the router a moment to obey. */
export async function askOfInstance(parts: PageParts, visit: Visit, kind: Kind): Promise<Answer> {
  const { pool, instance } = visit.form
  const one = parts.reader.read(readFleetNow).find((row) => row.pool === pool && row.name === instance)
  if (one === undefined || visit.user === undefined) return unknownInstance(visit.form)
  const { control } = parts
  const who = visit.user.name
  const subject = { pool: one.pool, instance: one.name }
  const intentId = control.together(() => {
    control.audit.append({ who, address: visit.address, action: kind, subject: `${one.pool} / ${one.name}`, before: one.state })
    return control.intents.append({ kind, subject, askedBy: who })
  })
  await waitForAnswer(control, intentId)
  return { kind: 'see other', to: `/fleet?asked=${intentId}` }
}

function unknownInstance({ pool, instance }: Visit['query']): Answer {
  return {
    kind: 'problem',
    status: 404,
    title: 'No such instance',
    text: `There is no instance ${instance ?? '(none named)'} in pool ${pool ?? '(none named)'} now. Nothing was changed. Fleet shows those there are.`,
  }
}
