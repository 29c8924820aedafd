import { dirname, resolve } from 'node:path'
import type { z } from 'zod'
import type { placementsSchema, secretSchema } from './config-schema.ts'

type Parsed = z.infer<typeof placementsSchema>

/** The placement API's configuration with its secrets read. */
export type PlacementsConfig = Omit<Parsed, 'keys'> & {
  readonly keys: readonly { readonly name: string; readonly scopes: Parsed['keys'][number]['scopes']; readonly key: string }[]
}

/** Reads the keys, and makes files absolute. */
export function resolvePlacements(given: {
  readonly placements: Parsed
  /** The configuration file: other files are named relative to it. */
  readonly path: string
  readonly secrets: (given: z.infer<typeof secretSchema> | undefined, key: string) => string | undefined
}): PlacementsConfig {
  const { placements, path, secrets } = given
  const { socket, tls } = placements
  const at = (file: string): string => resolve(dirname(path), file)
  const keys = placements.keys.map(({ name, scopes, key }, i) => ({
    name,
    scopes,
    key: secrets(key, `gateways.placements.keys.${i}.key`) ?? '',
  }))
  return {
    ...placements,
    keys,
    ...(socket === undefined ? {} : { socket: at(socket) }),
    ...(tls === undefined ? {} : { tls: { certFile: at(tls.certFile), keyFile: at(tls.keyFile) } }),
  }
}
