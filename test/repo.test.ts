import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

/** The frame: what the top level holds, beside names that start with a dot. */
const FRAME = [
  'LICENSE',
  'README.md',
  'admin',
  'migrations',
  'models',
  'package-lock.json',
  'package.json',
  'plugin',
  'test',
  'tsconfig.json',
]

/** Put together from pieces, so that this file passes its own test. */
const MACHINE_PATH = new RegExp(`(?<![\\w.~}\\]/-])/(${['work', 'root', 'home', 'tmp'].join('|')})(?=/\\w|["'\`\\s]|$)`, 'm')
const REGISTRY_HOST = new RegExp(
  [
    ['registry', 'npmjs', 'org'],
    ['registry', 'yarnpkg', 'com'],
    ['pypi', 'org'],
    ['pythonhosted', 'org'],
    ['proxy', 'golang', 'org'],
    ['(?:repo1?|central)', 'maven', '(?:apache\\.)?org'],
    ['(?:deb|ftp)', 'debian', 'org'],
    ['static', 'crates', 'io'],
  ]
    .map((parts) => parts.join('\\.'))
    .concat(`https?://[^/\\s"']*(?:${['artifactory', 'nexus'].join('|')})`)
    .join('|'),
)
const BINARY = /\.(png|onnx|gz|ico|woff2|sqlite)$/

const root = new URL('..', import.meta.url)
const listed = spawnSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8' })
const tracked = listed.status === 0 ? listed.stdout.split('\0').filter((path) => path !== '' && existsSync(new URL(path, root))) : []
const texts = tracked.filter((path) => !BINARY.test(path)).map((path) => ({ path, text: readFileSync(new URL(path, root), 'utf8') }))

/** Lines of tracked text that match, as path:line. */
function linesWith(pattern: RegExp, files: readonly { readonly path: string; readonly text: string }[]): string[] {
  return files
    .filter(({ text }) => pattern.test(text))
    .flatMap(({ path, text }) => text.split('\n').flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1}: ${line.trim()}`] : [])))
}

test('git lists the files', () => {
  expect(listed.status, `git ls-files: ${listed.stderr || listed.error}`).toBe(0)
})

test('the top level holds the frame, dot files, and nothing else', () => {
  const top = new Set(tracked.map((path) => path.split('/')[0]!))
  expect([...top].filter((name) => !name.startsWith('.')).sort()).toEqual(FRAME)
})

test('no tracked file names a path of somebody’s machine', () => {
  const files = texts.filter(({ path }) => path !== 'package-lock.json')
  expect(linesWith(MACHINE_PATH, files)).toEqual([])
})

test('no tracked file names the host of a package registry', () => {
  expect(linesWith(REGISTRY_HOST, texts)).toEqual([])
})

test('the lock file names packages by version and hash, never by an address to download from', () => {
  const lock = JSON.parse(readFileSync(new URL('package-lock.json', root), 'utf8')) as { packages: Record<string, { resolved?: string }> }
  expect(Object.entries(lock.packages).flatMap(([name, { resolved }]) => (resolved ? [`${name}: ${resolved}`] : []))).toEqual([])
})

test('a machine path and a registry’s host are found where they are', () => {
  const slash = '/'
  const bad = [`cd ${slash}work/main`, `const dir = '${slash}tmp/x'`, `${slash}home/me/phasewise`, `HOME=${slash}root`]
  expect(linesWith(MACHINE_PATH, [{ path: 'a', text: bad.join('\n') }])).toHaveLength(4)
  const fine = ['/homepage', 'plugin/work/x.ts', './root/x', 'https://example.org/work/x', '/roots']
  expect(linesWith(MACHINE_PATH, [{ path: 'a', text: fine.join('\n') }])).toEqual([])
  expect(linesWith(REGISTRY_HOST, [{ path: 'a', text: `https://${['registry', 'npmjs', 'org'].join('.')}/undici` }])).toHaveLength(1)
})
