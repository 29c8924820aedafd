import { readFileSync } from 'node:fs'
import { PROFILE_SCHEMA } from './profile-schema.ts'
import { PROFILES, type Profile } from './profiles.ts'

/** A profile by shipped name or from a JSON file. Throws with the field that is wrong. */
export function readProfile(nameOrFile: string): Profile {
  const shipped = PROFILES.get(nameOrFile)
  if (shipped) return shipped
  const checked = PROFILE_SCHEMA.safeParse(JSON.parse(readFileSync(nameOrFile, 'utf8')))
  if (checked.success) return checked.data
  const issue = checked.error.issues[0]
  throw new Error(`${nameOrFile}: field ${issue?.path.join('.') || '(root)'}: ${issue?.message ?? 'invalid'}`)
}
