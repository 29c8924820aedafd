import { join } from 'node:path'
import { z } from 'zod'
import type { ModelRecord } from '../log/control/models.ts'
import type { LearnedModel } from '../placement/learned-model.ts'
import type { LengthModel } from '../prediction/length-model.ts'
import { decodeLengthModel } from '../prediction/model-file.ts'
import { PROFILE_SCHEMA } from '../simulation/profile-schema.ts'
import type { Profile } from '../simulation/profiles.ts'
import { BASE_FOLDER, MODEL_FILE, readLengthModel } from './model-folder.ts'
import { BASE_POLICY_FOLDER, readPolicyModel } from './policy-folder.ts'
import { fileOf, ModelUnfit, readRegistered } from './registry.ts'

/** Profiles by instance name, for each pool. */
export type PoolProfiles = ReadonlyMap<string, ReadonlyMap<string, Profile>>

/** File of a profile model. */
export const PROFILES_FILE = 'profiles.json'

const profilesSchema = z.record(z.string(), z.record(z.string(), PROFILE_SCHEMA))

/** A registered length model. Throws ModelUnfit naming what is wrong with it. */
export function loadLength(dataDir: string, record: ModelRecord): LengthModel {
  const files = readRegistered(dataDir, record)
  return unfitUnless(record, () => decodeLengthModel(new TextDecoder().decode(fileOf(files, MODEL_FILE, record.version))))
}

/** A registered policy model. Throws ModelUnfit naming what is wrong with it. */
export function loadPolicy(dataDir: string, record: ModelRecord): LearnedModel {
  readRegistered(dataDir, record)
  return unfitUnless(record, () => readPolicyModel(join(dataDir, record.folder)))
}

/** Registered profiles. Throws ModelUnfit naming what is wrong with them. */
export function loadProfiles(dataDir: string, record: ModelRecord): PoolProfiles {
  const files = readRegistered(dataDir, record)
  return unfitUnless(record, () => decodeProfiles(fileOf(files, PROFILES_FILE, record.version)))
}

/** The length and policy models that ship. Throw where they are damaged. */
export const baseLength = (): LengthModel => readLengthModel(BASE_FOLDER)
/** The policy that ships; see `baseLength`. */
export const basePolicy = (): LearnedModel => readPolicyModel(BASE_POLICY_FOLDER)

/** Profiles as a file; the same profiles give the same bytes. */
export function encodeProfiles(pools: PoolProfiles): Uint8Array {
  const sorted = <T>(map: ReadonlyMap<string, T>): [string, T][] => [...map].sort(([a], [b]) => (a < b ? -1 : 1))
  const plain = Object.fromEntries(sorted(pools).map(([pool, own]) => [pool, Object.fromEntries(sorted(own))]))
  return new TextEncoder().encode(`${JSON.stringify(plain, null, 1)}\n`)
}

function decodeProfiles(bytes: Uint8Array): PoolProfiles {
  const plain = profilesSchema.parse(JSON.parse(new TextDecoder().decode(bytes)))
  return new Map(Object.entries(plain).map(([pool, own]) => [pool, new Map(Object.entries(own))]))
}

function unfitUnless<T>({ kind, version }: ModelRecord, load: () => T): T {
  try {
    return load()
  } catch (cause) {
    if (cause instanceof ModelUnfit) throw cause
    throw new ModelUnfit(`${kind} model ${version}: ${cause instanceof Error ? cause.message : cause}`, cause)
  }
}
