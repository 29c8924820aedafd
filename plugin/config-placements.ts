import { dirname, resolve } from 'node:path'
import type { z } from 'zod'
import { isLoopback, type placementsSchema, type secretSchema } from './config-schema.ts'

type Parsed = z.infer<typeof placementsSchema>

/** The placement API's configuration with its secrets read. */
export type PlacementsConfig = Omit<Parsed, 'keys'> & {
  readonly keys: readonly { readonly name: string; readonly scopes: Parsed['keys'][number]['scopes']; readonly key: string }[]
}

/** Reads the keys, and makes files absolute. What cannot work is added to `problems`. */
export function resolvePlacements(given: {
  readonly placements: Parsed
  /** The configuration file: other files are named relative to it. */
  readonly path: string
  readonly secrets: (given: z.infer<typeof secretSchema> | undefined, key: string) => string | undefined
  readonly problems: { readonly key: string; readonly got: string; readonly remedy: string }[]
}): PlacementsConfig {
  const { placements, path, secrets, problems } = given
  const { listen, socket, tls } = placements
  const at = (file: string): string => resolve(dirname(path), file)
  const keys = placements.keys.map(({ name, scopes, key }, i) => ({
    name,
    scopes,
    key: secrets(key, `gateways.placements.keys.${i}.key`) ?? '',
  }))
  if (listen && !isLoopback(listen.host) && keys.length === 0)
    problems.push({
      key: 'gateways.placements.keys',
      got: 'none',
      remedy: `${listen.host} can be reached from outside, where nobody may ask without a key: add one, or listen on 127.0.0.1`,
    })
  return {
    ...placements,
    keys,
    ...(socket === undefined ? {} : { socket: at(socket) }),
    ...(tls === undefined ? {} : { tls: { certFile: at(tls.certFile), keyFile: at(tls.keyFile) } }),
  }
}
