import type { SettingGroup } from '../../../plugin/config-catalogue.ts'
import { type Answer, type Model, mayUse, type Visit } from '../../answer.ts'
import { routerState } from '../../frame.ts'
import type { PageParts } from '../../routes.ts'
import { changesOf, fingerprint, overridesAfter, problemsOf, readStanding, type SettingNow, type Standing, settingsNow } from './reading.ts'

/** The intent by which a router is asked to look at the settings again. */
const INTENT = 'settings'
/** The router looks for intents five times a second: so long the next page waits for its answer. */
const ANSWER_WAIT_MS = 900
const ANSWER_LOOK_MS = 50

/** When a change counts, in words. */
const COUNTS = { live: 'at once', 'next run': 'with the next training', restart: 'after a restart' } as const

/** Every setting with its value, where that comes from, and when a change counts. */
export function settingsPage(parts: PageParts, visit: Visit): Answer {
  const standing = readStanding(parts)
  const mayChange = mayUse(visit.user?.role, 'operator') && !standing.fileWins
  const changed = parts.control.settings.all()
  return {
    kind: 'page',
    view: 'settings',
    title: 'Settings',
    model: {
      source: standing.file.source,
      fileWins: standing.fileWins,
      mayChange,
      mayExport: mayUse(visit.user?.role, 'operator'),
      notice: noticeOf(parts, visit),
      refused: problemModels(standing.refused ?? []),
      unused: standing.unused,
      groups: standing.groups.map((group, i) => ({
        title: group.title,
        id: `g${i}`,
        index: i,
        rows: settingsNow(standing, group).map((now) => rowModel(now, standing)),
      })),
      yaml: standing.yaml,
      setCount: Object.keys(changed).length,
    },
  }
}

function rowModel(now: SettingNow, { fileWins }: Standing): Model {
  const { setting, key, fileText, isInFile, setText } = now
  const isSet = setText !== undefined && !fileWins
  const value = isSet ? setText : fileText
  const options = setting.kind === 'switch' ? ['true', 'false'] : setting.values
  return {
    key,
    label: setting.label,
    says: setting.says,
    value: value === '' ? 'not set' : value,
    isNumber: setting.kind === 'number',
    source: isSet ? { text: 'database', tone: 'accent' } : isInFile ? { text: 'file', tone: '' } : { text: 'default', tone: '' },
    fileText: fileText === '' ? 'not set' : fileText,
    isSet,
    counts: COUNTS[setting.effect],
    input: setText ?? '',
    options: options && withOwn(options, setText).map((one) => ({ value: one, selected: one === setText })),
  }
}

/** A value from elsewhere stays in its field, so that what counts is always visible. */
const withOwn = (options: readonly string[], own: string | undefined): readonly string[] =>
  own === undefined || options.includes(own) ? options : [...options, own]

/** What would change, before anything does. */
export function reviewSettings(parts: PageParts, visit: Visit): Answer {
  const standing = readStanding(parts)
  const group = groupOf(standing, visit.query)
  if (group === undefined || standing.fileWins) return { kind: 'see other', to: '/settings' }
  const { changes, problems } = changesOf(standing, group, visit.query)
  if (changes.length + problems.length === 0) return { kind: 'see other', to: '/settings?done=same' }
  const wrong = [...problems, ...(problemsOf(parts.configuration, overridesAfter(standing.overrides, changes)) ?? [])]
  return {
    kind: 'page',
    view: 'settings-review',
    title: 'Review changes',
    status: wrong.length === 0 ? 200 : 422,
    model: {
      title: 'Review changes',
      group: group.title,
      index: visit.query.group,
      seen: fingerprint(standing.overrides),
      problems: problemModels(wrong),
      changes: changes.map((change) => ({
        label: change.setting.label,
        before: change.setText ?? `${change.fileText || 'not set'} (${change.isInFile ? 'file' : 'default'})`,
        after: change.wanted ?? `${change.fileText || 'not set'} (${change.isInFile ? 'file' : 'default'})`,
        counts: COUNTS[change.setting.effect],
        waits: change.setting.effect === 'restart',
      })),
      // All of the group: what is not sent back would count as taken away.
      fields:
        group.settings.length === 0
          ? []
          : settingsNow(standing, group).flatMap(({ key }) => (visit.query[key] === undefined ? [] : [{ key, value: visit.query[key] }])),
      restarts: changes.some(({ setting }) => setting.effect === 'restart'),
    },
  }
}

/** Keeps the changes with their audit rows, and asks the router to obey. */
export async function saveSettings(parts: PageParts, visit: Visit): Promise<Answer> {
  const { control } = parts
  const standing = readStanding(parts)
  const group = groupOf(standing, visit.form)
  if (group === undefined || standing.fileWins || visit.user === undefined)
    return notNow('There is nothing to change here: the file alone counts, or the pool is gone.')
  const { changes, problems } = changesOf(standing, group, visit.form)
  const wrong = [...problems, ...(problemsOf(parts.configuration, overridesAfter(standing.overrides, changes)) ?? [])]
  if (wrong.length > 0) return notNow(wrong.map(({ key, got, remedy }) => `${key}: ${got}; ${remedy}.`).join(' '))
  const who = visit.user.name
  const intentId = control.together(() => {
    // Looked at again inside the transaction: what was reviewed must be what is changed.
    if (fingerprint(readStanding(parts).overrides) !== visit.form.seen) return undefined
    for (const { key, json, setText, fileText, wanted, setting } of changes) {
      if (json === undefined) control.settings.remove(key)
      else control.settings.set(key, json)
      const subject = setting.path.join(' / ')
      control.audit.append({
        who,
        address: visit.address,
        action: 'change setting',
        subject,
        before: setText ?? `${fileText || 'not set'} (file)`,
        after: wanted ?? `${fileText || 'not set'} (file)`,
      })
    }
    return control.intents.append({ kind: INTENT, subject: { keys: changes.map(({ key }) => key) }, askedBy: who })
  })
  if (intentId === undefined)
    return notNow('Somebody else changed a setting meanwhile. Look at the settings as they are now, and change them again.')
  for (let waited = 0; waited < ANSWER_WAIT_MS && control.intents.get(intentId)?.state === 'asked'; waited += ANSWER_LOOK_MS)
    await new Promise((resolve) => setTimeout(resolve, ANSWER_LOOK_MS))
  return { kind: 'see other', to: `/settings?asked=${intentId}` }
}

/** The configuration that counts, as a file. */
export function exportSettings(parts: PageParts): Answer {
  return { kind: 'download', name: 'phasewise.yaml', type: 'application/yaml; charset=utf-8', chunks: [readStanding(parts).yaml] }
}

function groupOf(standing: Standing, form: Readonly<Record<string, string>>): SettingGroup | undefined {
  return form.group === undefined ? undefined : standing.groups[Number(form.group)]
}

/** What came of the changes that the address names. */
function noticeOf({ control, reader }: PageParts, visit: Visit): Model | undefined {
  if (visit.query.done === 'same') return { tone: 'warn', text: 'Nothing was changed: all is as it was.', href: undefined }
  const intent = visit.query.asked === undefined ? undefined : control.intents.get(Number(visit.query.asked))
  if (intent?.kind !== INTENT) return undefined
  if (intent.state === 'done') return { tone: 'good', text: `Saved. ${intent.answer ?? ''}`.trim(), href: undefined }
  if (intent.state === 'refused')
    return { tone: 'bad', text: `Saved, but the router refused it. ${intent.answer ?? ''}`.trim(), href: undefined }
  const { running } = reader.read((query) => routerState(query, visit.nowUnixMs))
  const text = running ? 'Saved; the router has not answered yet.' : 'Saved. The router is not running: it counts from its next start.'
  return { tone: 'warn', text, href: visit.url }
}

const problemModels = (problems: Standing['refused']): readonly Model[] =>
  (problems ?? []).map(({ key, got, remedy }) => ({ key, got, remedy }))

function notNow(text: string): Answer {
  return { kind: 'problem', status: 409, title: 'Nothing was saved', text }
}
