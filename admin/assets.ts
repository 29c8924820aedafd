import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A file of `public/`, in memory. */
export interface Asset {
  readonly type: string
  readonly bytes: Buffer
}

/** The files of `public/` under names that hold their content's hash, so that browsers may keep them for ever. */
export interface Assets {
  /** Address of a file by its plain name. Throws when there is no such file. */
  href(name: string): string
  /** A file by its hashed name. */
  find(hashedName: string): Asset | undefined
}

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
}
const HASH_DIGITS = 10

/** A folder of the admin: beside this file, or in the package's own `admin/` when this runs compiled. Throws when it is in neither place. */
export function adminFolder(name: 'views' | 'public'): string {
  const places = [`./${name}`, `../../admin/${name}`].map((place) => fileURLToPath(new URL(place, import.meta.url)))
  const found = places.find((place) => existsSync(place))
  if (found === undefined) throw new Error(`no admin/${name} at ${places.join(' or ')}: the installation is incomplete`)
  return found
}

/** Reads `public/`, once. */
export function readAssets(folder: string = adminFolder('public')): Assets {
  const hashedNames = new Map<string, string>()
  const assets = new Map<string, Asset>()
  for (const name of readdirSync(folder)) {
    const bytes = readFileSync(`${folder}/${name}`)
    const extension = extname(name)
    const hash = createHash('sha256').update(bytes).digest('hex').slice(0, HASH_DIGITS)
    const hashed = `${name.slice(0, name.length - extension.length)}.${hash}${extension}`
    hashedNames.set(name, hashed)
    assets.set(hashed, { type: TYPES[extension] ?? 'application/octet-stream', bytes })
  }
  return {
    href(name) {
      const hashed = hashedNames.get(name)
      if (hashed === undefined) throw new Error(`admin/public holds no ${name}`)
      return `/assets/${hashed}`
    },
    find: (hashedName) => assets.get(hashedName),
  }
}
