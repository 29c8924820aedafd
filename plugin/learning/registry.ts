import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ModelKind, ModelRecord, Models } from '../log/control/models.ts'

/** Files of one model version by name, e.g. model.json and card.json. */
export type ModelFiles = ReadonlyMap<string, Uint8Array>

/** A registered version cannot serve: a file of it is missing or is not what was registered. The message names it. */
export class ModelUnfit extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'ModelUnfit'
  }
}

/** Folder of a version below the data directory. */
export function modelFolder(kind: ModelKind, version: string): string {
  return join('models', kind, version)
}

/** SHA-256 over names and contents, in order of name: what the version is known by. */
export function hashFiles(files: ModelFiles): string {
  const hash = createHash('sha256')
  for (const [name, bytes] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`${name} ${bytes.byteLength}\n`)
    hash.update(bytes)
  }
  return hash.digest('hex')
}

/** A version's name: its kind and the first eight digits of the hash of what it is made of; the same content has the same name. */
export function versionOf(kind: ModelKind, content: ModelFiles): string {
  return `${kind}-${hashFiles(content).slice(0, 8)}`
}

export interface Registering {
  readonly dataDir: string
  readonly models: Models
  readonly kind: ModelKind
  readonly version: string
  readonly files: ModelFiles
  /** Put beside the files as card.json, and into the registry. */
  readonly card: Readonly<Record<string, unknown>>
  readonly featureHash: string | null
  readonly runId?: number
  readonly parent?: string
  /** Of a policy: the profiles it goes with. */
  readonly profileModelId?: number
}

const CARD = 'card.json'

/**
 * Writes a version's files and registers it; gives its id. A folder is written beside and moved into place, so that no half of one is ever found. A version that is
 * registered already with the same files is that one; with others it throws.
 */
export function registerModel({ dataDir, models, kind, version, files, card, featureHash, ...origin }: Registering): number {
  const whole = new Map([...files, [CARD, new TextEncoder().encode(`${JSON.stringify(card, null, 1)}\n`)]])
  const known = models.byVersion(kind, version)
  const folder = modelFolder(kind, version)
  const at = join(dataDir, folder)
  if (known) {
    readRegistered(dataDir, known)
    return known.modelId
  }
  const half = `${at}.half`
  rmSync(half, { recursive: true, force: true })
  mkdirSync(half, { recursive: true })
  for (const [name, bytes] of whole) writeFileSync(join(half, name), bytes)
  // Left by a run that died between moving and registering.
  rmSync(at, { recursive: true, force: true })
  renameSync(half, at)
  return models.register({
    kind,
    version,
    sha256: hashFiles(whole),
    featureHash,
    card: JSON.stringify(card),
    folder,
    ...origin,
  })
}

/** The files of a registered version, found to be what was registered. Throws ModelUnfit naming the file that is missing or the version that was changed. */
export function readRegistered(dataDir: string, { kind, version, folder, sha256 }: ModelRecord): ModelFiles {
  const at = join(dataDir, folder)
  if (folder === '' || !existsSync(at)) throw new ModelUnfit(`${kind} model ${version}: its folder ${at} is not there`)
  const files = new Map<string, Uint8Array>()
  for (const name of readdirSync(at).sort()) {
    try {
      files.set(name, readFileSync(join(at, name)))
    } catch (cause) {
      throw new ModelUnfit(
        `${kind} model ${version}: ${join(at, name)} cannot be read (${cause instanceof Error ? cause.message : cause})`,
        cause,
      )
    }
  }
  if (hashFiles(files) === sha256) return files
  const least = files.has(CARD) ? 'a file of it was changed, added or removed' : `its ${CARD} is not there`
  throw new ModelUnfit(
    `${kind} model ${version} in ${at} is not what was registered: ${least}; restore the folder or promote another version`,
  )
}

/** One file of a version. Throws ModelUnfit when it has none of that name. */
export function fileOf(files: ModelFiles, name: string, what: string): Uint8Array {
  const bytes = files.get(name)
  if (!bytes) throw new ModelUnfit(`${what}: ${name} is not among its files`)
  return bytes
}
