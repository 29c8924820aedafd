import { createHash } from 'node:crypto'
import { type Config, ConfigError, type Problem, parseConfig } from '../../../plugin/config.ts'
import { type Setting, type SettingGroup, settingGroups } from '../../../plugin/config-catalogue.ts'
import { type Overrides, overlay, settingKey, settingPath, valueAt } from '../../../plugin/config-settings.ts'
import type { PageParts } from '../../routes.ts'

/** The settings as they stand: what the file says, what was set here, and what counts. */
export interface Standing {
  readonly file: Config
  /** What stands in the file itself, defaults left out. */
  readonly raw: unknown
  readonly overrides: Overrides
  readonly groups: readonly SettingGroup[]
  /** Why what was set here does not count; undefined while it does. */
  readonly refused: readonly Problem[] | undefined
  /** Overrides that fit nowhere. */
  readonly unused: readonly string[]
  readonly yaml: string
  readonly fileWins: boolean
}

/** Reads how the settings stand now. */
export function readStanding({ control, configuration }: PageParts): Standing {
  const file = parseConfig(configuration)
  const overrides = Object.fromEntries(Object.entries(control.settings.all()).filter(([key]) => settingPath(key) !== undefined))
  const fileWins = file.admin.settings === 'file'
  const { yaml, unused } = overlay(configuration.input, fileWins ? {} : overrides)
  const plain = overlay(configuration.input, {}).input
  return {
    file,
    raw: 'value' in plain ? plain.value : undefined,
    overrides,
    // A section that this version does not have cannot be set.
    groups: settingGroups({ pools: file.pools.map(({ name }) => name), policies: configuration.policyNames }).filter(
      ({ settings: [first] }) => first !== undefined && valueAt(file, first.path.slice(0, 1)) !== undefined,
    ),
    refused: fileWins ? undefined : problemsOf(configuration, overrides),
    unused,
    yaml,
    fileWins,
  }
}

/** What is wrong with the file under these overrides, by the file's own schema; undefined where nothing is. */
export function problemsOf(configuration: PageParts['configuration'], overrides: Overrides): readonly Problem[] | undefined {
  try {
    parseConfig({ ...configuration, input: overlay(configuration.input, overrides).input })
    return undefined
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

/** One setting with every value it has. Texts as a form shows them; '' is nothing. */
export interface SettingNow {
  readonly setting: Setting
  readonly key: string
  readonly fileText: string
  readonly isInFile: boolean
  /** Undefined where nothing was set here. */
  readonly setText: string | undefined
}

/** The settings of a group with their values. */
export function settingsNow(standing: Standing, group: SettingGroup): readonly SettingNow[] {
  return group.settings.map((setting) => {
    const key = settingKey(setting.path)
    const json = standing.overrides[key]
    return {
      setting,
      key,
      fileText: textOf(valueAt(standing.file, setting.path)),
      isInFile: valueAt(standing.raw, setting.path) !== undefined,
      setText: json === undefined ? undefined : textOf(parsed(json)),
    }
  })
}

/** A change that somebody wants: from one text to another; undefined is "as the file says". */
export interface Change extends SettingNow {
  readonly wanted: string | undefined
  /** The wanted value as JSON; undefined where the override is to go. */
  readonly json: string | undefined
}

/** What a form of this group asks for that is not so already, and what cannot be read of it. */
export function changesOf(
  standing: Standing,
  group: SettingGroup,
  form: Readonly<Record<string, string>>,
): { readonly changes: readonly Change[]; readonly problems: readonly Problem[] } {
  const changes: Change[] = []
  const problems: Problem[] = []
  for (const now of settingsNow(standing, group)) {
    const wanted = form[now.key]?.trim() || undefined
    if (wanted === now.setText) continue
    const value = wanted === undefined ? undefined : readText(now.setting, wanted)
    if (value === undefined && wanted !== undefined)
      problems.push({
        key: now.setting.label,
        got: wanted,
        remedy: now.setting.kind === 'number' ? 'allowed is a number' : 'allowed are true and false',
      })
    else changes.push({ ...now, wanted, json: value === undefined ? undefined : JSON.stringify(value) })
  }
  return { changes, problems }
}

/** The overrides as they will be. */
export function overridesAfter(overrides: Overrides, changes: readonly Change[]): Overrides {
  const after = { ...overrides }
  for (const { key, json } of changes) {
    if (json === undefined) delete after[key]
    else after[key] = json
  }
  return after
}

/** Tells whether somebody changed anything between a review and its saving. */
export const fingerprint = (overrides: Overrides): string =>
  createHash('sha256')
    .update(JSON.stringify(Object.entries(overrides).sort(([a], [b]) => (a < b ? -1 : 1))))
    .digest('hex')
    .slice(0, 16)

function readText({ kind }: Setting, text: string): string | number | boolean | undefined {
  if (kind === 'number') {
    const value = Number(text.replace(',', '.'))
    return Number.isFinite(value) ? value : undefined
  }
  if (kind === 'switch') return text === 'true' ? true : text === 'false' ? false : undefined
  return text
}

function textOf(value: unknown): string {
  if (value === undefined || value === null) return ''
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch (cause) {
    if (cause instanceof SyntaxError) return json
    throw cause
  }
}
