import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { z } from 'zod'
import type { Problem } from './config.ts'
import type { secretSchema } from './config-schema.ts'

type Environment = Readonly<Record<string, string | undefined>>

/** Resolves a secret named by environment variable or file; a problem is noted where it cannot be had. */
export type SecretReader = (given: z.infer<typeof secretSchema> | undefined, key: string) => string | undefined

/** A reader whose files are relative to `base`. */
export function createSecretReader(parts: { base: string; env: Environment; problems: Problem[] }): SecretReader {
  return (given, key) => {
    if (!given) return undefined
    if ('env' in given) {
      const value = parts.env[given.env]
      if (!value)
        parts.problems.push({ key: `${key}.env`, got: JSON.stringify(given.env), remedy: `set the environment variable ${given.env}` })
      return value
    }
    try {
      return readFileSync(resolve(parts.base, given.file), 'utf8').trim()
    } catch (cause) {
      parts.problems.push({
        key: `${key}.file`,
        got: JSON.stringify(given.file),
        remedy: `make the file readable (${(cause as Error).message})`,
      })
      return undefined
    }
  }
}

/** `{env: NAME}` anywhere in the raw text whose variable is not set; told beside mistakes of form, which hide the usual look-up. */
export function missingSecrets(raw: unknown, env: Environment, key = ''): Problem[] {
  if (typeof raw !== 'object' || raw === null) return []
  return Object.entries(raw).flatMap(([step, value]) => {
    const at = key ? `${key}.${step}` : step
    const name = (value as { env?: unknown } | null)?.env
    if (/^(apiKey|key|clientSecret)$/.test(step) && typeof name === 'string' && !env[name])
      return [{ key: `${at}.env`, got: JSON.stringify(name), remedy: `set the environment variable ${name}` }]
    return missingSecrets(value, env, at)
  })
}
