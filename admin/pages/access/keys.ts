import { type ApiKeyRecord, KEY_SCOPES, KeyNameTaken, type KeyScope } from '../../../plugin/log/control/api-keys.ts'
import { keyNameProblem } from '../../access/names.ts'
import { createToken, tokenSha256 } from '../../access/tokens.ts'
import type { Answer, Model, Visit } from '../../answer.ts'
import { formatDate, formatDuration, formatInstant } from '../../format.ts'
import type { PageParts } from '../../routes.ts'
import { accessPage } from './access.ts'

const SCOPE_WORDS: Readonly<Record<KeyScope, string>> = {
  place: 'ask for placements and report outcomes',
  read: 'see the fleet',
  control: 'drain instances and switch off',
}

/** Keys start so, so that secret scanners and people know one when they see it. */
const BEGINNING = 'pw_'
const SHOWN_CHARS = BEGINNING.length + 4
const DAY_MS = 86_400_000
const DAYS_MAX = 3_650

/** The keys' table and the form for a new one. */
export function keysModel({ control }: PageParts, { nowUnixMs }: Visit, values: Visit['form']): Model {
  return {
    rows: control.apiKeys.list().map((key) => keyModel(key, nowUnixMs)),
    name: values.keyName ?? '',
    days: values.days ?? '365',
    scopes: KEY_SCOPES.map((name) => ({
      name,
      words: SCOPE_WORDS[name],
      checked: values.keyName === undefined ? name !== 'control' : values[`scope-${name}`] !== undefined,
    })),
  }
}

function keyModel(key: ApiKeyRecord, nowUnixMs: number): Model {
  const isOver = key.expiresUnixMs !== null && key.expiresUnixMs <= nowUnixMs
  return {
    name: key.name,
    beginning: key.beginning,
    scopes: key.scopes.join(', '),
    state: stateOf(key, nowUnixMs),
    by: key.createdBy,
    since: formatDate(key.createdUnixMs),
    expires: key.expiresUnixMs === null ? undefined : formatDate(key.expiresUnixMs),
    used: key.lastUsedUnixMs === null ? undefined : formatInstant(key.lastUsedUnixMs),
    revokedBy: key.revokedBy ?? undefined,
    revokeHref: key.revokedUnixMs === null && !isOver ? `/access/keys/${key.keyId}/revoke` : undefined,
  }
}

const SOON_MS = 14 * DAY_MS

function stateOf(key: ApiKeyRecord, nowUnixMs: number): Model {
  if (key.revokedUnixMs !== null) return { text: 'revoked', tone: 'bad' }
  if (key.expiresUnixMs === null) return { text: 'in use', tone: 'good' }
  const leftMs = key.expiresUnixMs - nowUnixMs
  if (leftMs <= 0) return { text: 'expired', tone: 'bad' }
  return leftMs < SOON_MS ? { text: `${formatDuration(leftMs)} left`, tone: 'warn' } : { text: 'in use', tone: 'good' }
}

/** Makes a key: its hash is kept, and the next page shows the key itself, once. */
export function addKey(parts: PageParts, visit: Visit): Answer {
  const { control } = parts
  const name = (visit.form.keyName ?? '').trim()
  const scopes = KEY_SCOPES.filter((scope) => visit.form[`scope-${scope}`] !== undefined)
  const days = Number(visit.form.days ?? '')
  const problem =
    keyNameProblem(name) ??
    (scopes.length === 0 ? 'Choose at least one thing that the key may do.' : undefined) ??
    (Number.isInteger(days) && days >= 0 && days <= DAYS_MAX ? undefined : `Days are a whole number up to ${DAYS_MAX}; 0 is for ever.`)
  const values = { ...visit.form, keyName: name }
  if (problem !== undefined) return accessPage(parts, visit, { problem, values })
  const key = BEGINNING + createToken()
  const expiresUnixMs = days === 0 ? undefined : visit.nowUnixMs + days * DAY_MS
  const who = visit.user?.name ?? 'nobody'
  try {
    control.together(() => {
      control.apiKeys.add({ name, scopes, sha256: tokenSha256(key), beginning: key.slice(0, SHOWN_CHARS), createdBy: who, expiresUnixMs })
      const after = `${scopes.join(', ')}; ${days === 0 ? 'for ever' : `${days} days`}`
      control.audit.append({ who, address: visit.address, action: 'add api key', subject: name, after })
    })
  } catch (error) {
    if (!(error instanceof KeyNameTaken)) throw error
    return accessPage(parts, visit, { problem: `A key called ${name} is in use already. Revoke that one, or choose another name.`, values })
  }
  parts.shownOnce.put(visit.session, {
    what: `Key ${name}`,
    secret: key,
    note: 'It is shown this once: only its hash is kept. Send it as “authorization: Bearer KEY” to the placement API.',
  })
  return { kind: 'see other', to: '/access#keys' }
}

/** Asks whether the key is really to end. */
export function confirmRevoke({ control }: PageParts, visit: Visit): Answer {
  const key = control.apiKeys.get(Number(visit.params.keyId) || 0)
  if (key === undefined || key.revokedUnixMs !== null) return noSuchKey()
  const used =
    key.lastUsedUnixMs === null ? 'It was never used.' : `It was last used ${formatDuration(visit.nowUnixMs - key.lastUsedUnixMs)} ago.`
  return {
    kind: 'page',
    view: 'confirm',
    title: `Revoke ${key.name}?`,
    model: {
      question: `Revoke the key ${key.name}?`,
      sub: key.scopes.join(', '),
      texts: [`${used} Whoever still sends it is refused within seconds, for good: a revoked key does not come back.`],
      action: `/access/keys/${key.keyId}/revoke`,
      fields: [],
      button: `Revoke ${key.name}`,
      back: '/access#keys',
    },
  }
}

/** Ends a key. */
export function revokeKey({ control }: PageParts, visit: Visit): Answer {
  const who = visit.user?.name ?? 'nobody'
  const key = control.apiKeys.get(Number(visit.params.keyId) || 0)
  if (key === undefined) return noSuchKey()
  const done = control.together(() => {
    if (!control.apiKeys.revoke(key.keyId, who)) return false
    control.audit.append({ who, address: visit.address, action: 'revoke api key', subject: key.name, before: key.scopes.join(', ') })
    return true
  })
  return { kind: 'see other', to: `/access?done=${done ? 'revoked' : 'same'}#keys` }
}

function noSuchKey(): Answer {
  return { kind: 'problem', status: 404, title: 'No such key', text: 'There is no such key in use. Nothing was changed.' }
}
