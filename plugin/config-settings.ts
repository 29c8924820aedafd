import { type Document, isCollection, isMap, isScalar, parseDocument, Document as YamlDocument } from 'yaml'
import type { ConfigParts } from './config.ts'

/**
 * What people set in the admin, laid over phasewise.yaml. Overrides are kept in the database by key; the result is checked by the same schema as
 * the file, since it is read as a file.
 */

/** A step is a key of a map; the one after 'pools' is a pool's name. */
export type SettingPath = readonly string[]

/** By key (see `settingKey`), the value as JSON. */
export type Overrides = Readonly<Record<string, string>>

const PREFIX = 'config/'

/** The name under which an override of this path is kept. */
export const settingKey = (path: SettingPath): string => PREFIX + path.map(encodeURIComponent).join('/')

/** The path that a key stands for; undefined where it is the key of something else. */
export function settingPath(key: string): SettingPath | undefined {
  if (!key.startsWith(PREFIX)) return undefined
  try {
    return key.slice(PREFIX.length).split('/').map(decodeURIComponent)
  } catch (cause) {
    if (cause instanceof URIError) return undefined
    throw cause
  }
}

/** A configuration with overrides laid over it. */
export interface Overlaid {
  /** To be read by `parseConfig`. */
  readonly input: ConfigParts['input']
  /** The whole as YAML, with the file's own comments. Secrets stand in it as the file names them. */
  readonly yaml: string
  /** Keys of overrides that fit nowhere, such as of a pool that the file no longer has. */
  readonly unused: readonly string[]
}

/** Lays overrides over a file's text or a ready object. Of a text that is no YAML nothing is overlaid: reading it tells why. */
export function overlay(input: ConfigParts['input'], overrides: Overrides): Overlaid {
  const document = 'text' in input ? parseDocument(input.text) : new YamlDocument(input.value)
  if (document.errors.length > 0) return { input, yaml: 'text' in input ? input.text : '', unused: [] }
  const unused = Object.entries(overrides)
    .filter(([key, value]) => {
      const path = settingPath(key)
      return path !== undefined && !place(document, path, value)
    })
    .map(([key]) => key)
  return { input: { path: input.path, value: document.toJS() as unknown }, yaml: document.toString({ lineWidth: 120 }), unused }
}

/** The value at a path, as it stands; undefined where nothing does. */
export function valueAt(value: unknown, path: SettingPath): unknown {
  let at = value
  for (const [i, step] of path.entries()) {
    if (typeof at !== 'object' || at === null) return undefined
    if (Array.isArray(at)) at = at.find((one: unknown) => (one as { name?: unknown } | null)?.name === step)
    else at = Object.hasOwn(at, step) ? (at as Record<string, unknown>)[step] : undefined
    // An order alone is short for holding in that order (config-hold.ts).
    if (step === 'hold' && typeof at === 'string' && path[i + 1] === 'order') return at
  }
  return at
}

/** Puts one override in its place; false where there is none. */
function place(document: Document, path: SettingPath, json: string): boolean {
  const at: (string | number)[] = []
  for (const [i, step] of path.entries()) {
    const parent = at.length === 0 ? document.contents : document.getIn(at, true)
    if (path[i - 1] === 'pools') {
      const pools = (document.toJS() as { pools?: unknown }).pools
      const index = Array.isArray(pools) ? pools.findIndex((one: unknown) => (one as { name?: unknown } | null)?.name === step) : -1
      if (index < 0) return false
      at.push(index)
      continue
    }
    if (isScalar(parent)) {
      if (path[i - 1] === 'hold' && typeof parent.value === 'string') document.setIn(at, document.createNode({ order: parent.value }))
      else if (parent.value === null) document.setIn(at, document.createNode({}))
      else return false
    } else if (parent !== null && parent !== undefined && (!isCollection(parent) || !isMap(parent))) return false
    at.push(step)
  }
  try {
    document.setIn(at, JSON.parse(json))
    return true
  } catch (cause) {
    if (cause instanceof SyntaxError) return false
    throw cause
  }
}
