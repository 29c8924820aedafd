import { posix } from 'node:path'

/** Reads source text as far as the rules need it: what a file imports, and which code is neither comment nor string. */
export interface SourceFile {
  /** From the repository's root, with forward slashes: plugin/log/queue.ts. */
  readonly path: string
  readonly text: string
}

export interface Import {
  /** A path from the repository's root for our own files, else the package's name: 'undici', '@opentelemetry/api', 'node:fs'. */
  readonly target: string
  readonly ours: boolean
  /** `import type` or `export type`: gone at run time. */
  readonly typeOnly: boolean
}

const COMMENT_OR_STRING = /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`/g

/** The text without its comments; strings stay. */
export const withoutComments = (text: string): string => text.replace(COMMENT_OR_STRING, (part) => (part.startsWith('/') ? ' ' : part))

/** The text without comments and quoted strings; template strings stay, for the code in them. */
export const codeOnly = (text: string): string =>
  text.replace(COMMENT_OR_STRING, (part) => (part.startsWith('/') ? ' ' : part.startsWith('`') ? part : "''"))

const STATEMENT =
  /(?:^|[\n;}])\s*(?:import|export)\s+(type\s+(?!from\b))?(?:(?:(?!\b(?:import|export)\b)[^'"`;()])*?\sfrom\s*)?['"]([^'"]+)['"]/g
const DYNAMIC = /\b(?:import|require)\s*\(\s*['"]([^'"]+)['"]/g
/** A worker or child is loaded by address: an import all the same. */
const BY_ADDRESS = /\bnew\s+URL\(\s*['"](\.[^'"]*\.ts)['"]\s*,\s*import\.meta\.url/g

/** Everything a file loads: statements, re-exports, dynamic imports, and files addressed by `new URL('./x.ts', import.meta.url)`. */
export function importsOf(file: SourceFile): Import[] {
  const text = withoutComments(file.text)
  const found = [...text.matchAll(STATEMENT)].map((match) => ({ specifier: match[2]!, typeOnly: match[1] !== undefined }))
  for (const pattern of [DYNAMIC, BY_ADDRESS])
    found.push(...[...text.matchAll(pattern)].map((match) => ({ specifier: match[1]!, typeOnly: false })))
  return found.map(({ specifier, typeOnly }) => ({ ...resolve(file.path, specifier), typeOnly }))
}

function resolve(from: string, specifier: string): Pick<Import, 'target' | 'ours'> {
  if (specifier.startsWith('.')) return { target: posix.join(posix.dirname(from), specifier), ours: true }
  const depth = specifier.startsWith('@') ? 2 : 1
  return { target: specifier.startsWith('node:') ? specifier : specifier.split('/').slice(0, depth).join('/'), ours: false }
}

/**
 * The room a file is in: the folder of plugin/, or for a file directly in plugin/ its first word (router-ticket.ts is router's).
 * Undefined outside plugin/ and admin/.
 */
export function roomOf(path: string): string | undefined {
  const [top, second] = path.split('/')
  if (top === 'admin') return 'admin'
  return top === 'plugin' && second ? second.split(/[.-]/)[0] : undefined
}
