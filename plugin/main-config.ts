import { resolve } from 'node:path'
import { type Config, type ConfigParts, environment, parseConfig, readConfigFile } from './config.ts'
import { SELECTABLE_POLICY_NAMES } from './placement/policies.ts'
import { PROFILES } from './simulation/profiles.ts'

/** Parses what the supervisor read, in any process. Throws ConfigError with every problem. */
export function configOf(input: ConfigParts['input']): Config {
  return parseConfig(configParts(input))
}

/** What reading this input takes. */
export function configParts(input: ConfigParts['input']): ConfigParts {
  return { input, env: environment(), policyNames: SELECTABLE_POLICY_NAMES, profileNames: [...PROFILES.keys()] }
}

/** The configuration file as read, or undefined where there is none. */
export function readInput(path: string): ConfigParts['input'] | undefined {
  const text = readConfigFile(path)
  return text === undefined ? undefined : { path: resolve(path), text }
}
