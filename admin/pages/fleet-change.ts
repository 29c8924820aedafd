import { type FleetChange, type FleetIntentKind, isFleetIntent } from '../../plugin/log/control/fleet-changes.ts'
import { type InstanceNow, readFleetNow } from '../../plugin/log/read/now.ts'
import type { Answer, Model, Visit } from '../answer.ts'
import { formatDuration, formatInstant, formatNumber } from '../format.ts'
import { waitForAnswer } from '../intents.ts'
import type { PageParts } from '../routes.ts'

/** A real call of one token may wait behind others for so long. */
const TRY_WITHIN_MS = 35_000

/** A change in words, beside its instance; undefined where there is none. */
export function changeWords(change: FleetChange | undefined): string | undefined {
  return change && `${change.what} here by ${change.by}, ${formatInstant(change.sinceUnixMs).text}`
}

/** The changes of a pool that hold, and whether they can be taken back. */
export function changesOf(changes: readonly FleetChange[], mayAct: boolean): Model[] {
  return changes.map(({ pool, instance, what, settings, by, sinceUnixMs }) => ({
    pool,
    instance,
    what,
    settings:
      settings === undefined ? '' : `${settings.url}, speed ${formatNumber(settings.speed)}, weight ${formatNumber(settings.weight)}`,
    by,
    at: formatInstant(sinceUnixMs),
    back: !mayAct ? undefined : what === 'added' ? 'Remove' : what === 'removed' ? 'Put back' : 'As configured',
    kind: what === 'added' ? 'remove instance' : 'restore instance',
  }))
}

/** The form for a new instance, or for one that is there. */
export function instancePage(parts: PageParts, visit: Visit): Answer {
  const { pool, instance } = visit.query
  const fleet = parts.reader.read(readFleetNow)
  const one = fleet.find((row) => row.pool === pool && row.name === instance)
  if (pool === undefined || !fleet.some((row) => row.pool === pool) || (instance !== undefined && one === undefined))
    return unknown(visit.query)
  const change = parts.control.fleetChanges().find((row) => row.pool === pool && row.instance === instance)
  return {
    kind: 'page',
    view: 'instance',
    title: one === undefined ? `Add an instance to ${pool}` : `Instance ${one.name}`,
    model: { ...formModel(pool, one, change), problem: undefined },
  }
}

function formModel(pool: string, one: InstanceNow | undefined, change: FleetChange | undefined): Model {
  return {
    pool,
    name: one?.name ?? '',
    isNew: one === undefined,
    url: one?.url ?? '',
    weight: formatNumber(one?.weight ?? 1),
    speed: formatNumber(one?.speed ?? 1),
    apiKeyEnv: change?.settings?.apiKeyEnv ?? '',
    inFlight: one?.inFlight ?? 0,
    state: one?.state,
    change: changeWords(change),
  }
}

/** Writes down what is asked, and gives the router a moment to obey. */
export async function changeInstance(parts: PageParts, visit: Visit): Promise<Answer> {
  const { pool, instance, kind = '' } = visit.form
  const rows = parts.reader.read(readFleetNow)
  const known = rows.some((row) => row.pool === pool) || parts.control.fleetChanges().some((row) => row.pool === pool)
  if (!isFleetIntent(kind) || pool === undefined || instance === undefined || !known) return unknown(visit.form)
  const number = (text: string | undefined): number => Number((text ?? '1').replace(',', '.'))
  const { url = '', apiKeyEnv } = visit.form
  const settings =
    kind === 'add instance' || kind === 'change instance'
      ? { url, weight: number(visit.form.weight), speed: number(visit.form.speed), ...(apiKeyEnv === undefined ? {} : { apiKeyEnv }) }
      : {}
  const { control } = parts
  const who = visit.user?.name ?? 'nobody'
  const before = rows.find((row) => row.pool === pool && row.name === instance)
  const intentId = control.together(() => {
    control.audit.append({
      who,
      address: visit.address,
      action: kind,
      subject: `${pool} / ${instance}`,
      ...(before ? { before: JSON.stringify({ url: before.url, weight: before.weight, speed: before.speed }) } : {}),
      ...('url' in settings ? { after: JSON.stringify(settings) } : {}),
    })
    return control.intents.append({ kind, subject: { pool, instance, ...settings }, askedBy: who })
  })
  await waitForAnswer(control, intentId)
  return { kind: 'see other', to: `/fleet?changed=${intentId}` }
}

const DONE: Readonly<Record<FleetIntentKind, string>> = {
  'add instance': 'Added',
  'change instance': 'Changed',
  'remove instance': 'Removed',
  'restore instance': 'Taken back',
}

/** What came of the change that the address names; undefined where it names none. */
export function changeNotice({ control }: PageParts, visit: Visit): Model | undefined {
  const tried = triedNotice(visit)
  if (tried) return tried
  const intent = visit.query.changed === undefined ? undefined : control.intents.get(Number(visit.query.changed))
  if (intent === undefined || !isFleetIntent(intent.kind)) return undefined
  const what = `${DONE[intent.kind]}: ${(intent.subject as { instance?: unknown }).instance}`
  if (intent.state === 'done') return { tone: 'good', text: `${what}. ${intent.answer ?? ''}.`, href: undefined }
  if (intent.state === 'refused') return { tone: 'bad', text: `Nothing was changed: ${intent.answer ?? ''}.`, href: undefined }
  return { tone: 'warn', text: `${intent.kind}: asked, waiting for the router.`, href: visit.url }
}

/** Sends one real call of one token to the instance, by the router. */
export async function tryInstance(parts: PageParts, visit: Visit): Promise<Answer> {
  const { pool, instance } = visit.form
  const known = parts.reader.read(readFleetNow).some((row) => row.pool === pool && row.name === instance)
  if (pool === undefined || instance === undefined || !known) return unknown(visit.form)
  const path = `/v1/fleet/${encodeURIComponent(pool)}/${encodeURIComponent(instance)}/try`
  const answer = await parts.line.ask({ method: 'POST', path, withinMs: TRY_WITHIN_MS })
  parts.control.audit.append({
    who: visit.user?.name ?? 'nobody',
    address: visit.address,
    action: 'try instance',
    subject: `${pool} / ${instance}`,
  })
  const query = new URLSearchParams({ tried: instance })
  if (answer.kind === 'unreachable') query.set('says', `the router could not be asked: ${answer.why}`)
  else {
    const { works, status, elapsedMs, says } = answer.body as { works?: boolean; status?: number | null; elapsedMs?: number; says?: string }
    if (works) query.set('works', 'yes')
    query.set(
      'says',
      [status ? `HTTP ${status}` : '', says ?? '', `after ${formatDuration(elapsedMs ?? 0)}`].filter((one) => one !== '').join(', '),
    )
  }
  return { kind: 'see other', to: `/fleet?${query}` }
}

/** Longer words than these come from no instance of ours. */
const SAYS_CHARS_MAX = 300

function triedNotice({ query }: Visit): Model | undefined {
  if (query.tried === undefined) return undefined
  const says = (query.says ?? '').slice(0, SAYS_CHARS_MAX)
  const works = query.works === 'yes'
  return {
    tone: works ? 'good' : 'bad',
    text: `${query.tried} ${works ? 'answered a real call' : 'did not answer'}: ${says}.`,
    href: undefined,
  }
}

function unknown({ pool, instance }: Visit['query']): Answer {
  return {
    kind: 'problem',
    status: 404,
    title: 'No such instance',
    text: `There is no instance ${instance ?? '(none named)'} in pool ${pool ?? '(none named)'} now. Nothing was changed. Fleet shows those there are.`,
  }
}
