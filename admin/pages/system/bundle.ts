import { readFleetNow } from '../../../plugin/log/read/now.ts'
import type { Answer, Visit } from '../../answer.ts'
import type { PageParts } from '../../routes.ts'
import { readStanding } from '../settings/reading.ts'
import { readSystem } from './reading.ts'

const ROWS = 50

/**
 * What somebody who helps needs to see, as one JSON file: no prompt (none is stored), no key, no password, no person. The configuration is the file's text,
 * in which secrets are only named.
 */
export async function supportBundle(parts: PageParts, visit: Visit): Promise<Answer> {
  const { control, reader } = parts
  const standing = readStanding(parts)
  const bundle = {
    what: 'Phasewise support bundle',
    madeAt: new Date(visit.nowUnixMs).toISOString(),
    system: await readSystem(parts, visit.nowUnixMs),
    fleet: reader.read(readFleetNow),
    configuration: standing.yaml,
    settings: standing.overrides,
    refusedSettings: standing.refused,
    intents: control.intents.list({ limit: ROWS }).map(({ askedBy: _, ...intent }) => intent),
    trainingRuns: control.trainingRuns.list({ limit: ROWS }).map(({ askedBy: _, ...run }) => run),
    models: control.models.list().map(({ kind, version, alias, sha256, featureHash }) => ({ kind, version, alias, sha256, featureHash })),
    counts: {
      people: control.users.count(),
      apiKeysInUse: control.apiKeys.usable().length,
    },
  }
  const who = visit.user?.name ?? 'nobody'
  control.audit.append({ who, address: visit.address, action: 'download support bundle', subject: 'system' })
  const day = new Date(visit.nowUnixMs).toISOString().slice(0, 10)
  return {
    kind: 'download',
    name: `phasewise-support-${day}.json`,
    type: 'application/json; charset=utf-8',
    chunks: [`${JSON.stringify(bundle, (key, value: unknown) => withoutSecrets(key, value), 2)}\n`],
  }
}

/** Names under which a secret would stand, whoever put it there. */
const SECRET_NAME = /^(password|secret|token|authorization|cookie|apiKey|key)$/i
const CREDENTIALS_IN_URL = /\b([a-z][\w+.-]*:\/\/)[^\s/@"']+@/gi
const OWN_KEY = /\bpw_[\w-]{20,}/g
const BEARER = /\bbearer\s+[\w.~+/-]{8,}=*/gi

/** A value as the bundle may hold it: credentials within addresses and everything that looks like a key are taken out. */
export function withoutSecrets(name: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  if (typeof value !== 'string') return value
  if (SECRET_NAME.test(name)) return '(hidden)'
  return value.replace(CREDENTIALS_IN_URL, '$1(hidden)@').replace(OWN_KEY, 'pw_(hidden)').replace(BEARER, 'Bearer (hidden)')
}
