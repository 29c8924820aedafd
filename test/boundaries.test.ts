import { globSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import {
  type Door,
  docstringViolations,
  doorViolations,
  importViolations,
  parseTable,
  type Reserved,
  reservedViolations,
  shapeViolations,
} from './boundaries/rules.ts'
import { importsOf, roomOf } from './boundaries/source.ts'

/**
 * Who may import whom, as the design has it. Two things beyond: clock and rng are passed in everywhere, so their types are
 * everybody's; telemetry has a row (it speaks of calls, instances, placements and outcomes, as types); the log takes ids and the column list, which are
 * pure, as values, and its thread is a process entry of its own, so that it makes its clock itself.
 */
const DESIGN = parseTable(`
| room       | may import                                                                    |
| ---------- | ----------------------------------------------------------------------------- |
| clock, rng, config, call | nothing                                                         |
| fleet, outcome           | call                                                            |
| impact     | call, fleet                                                                   |
| placement  | call, fleet, impact, rng                                                      |
| hold       | call, placement                                                               |
| neural     | nothing                                                                       |
| prediction | call, neural                                                                  |
| simulation | call, fleet, impact, placement, hold, outcome, rng                            |
| log        | clock, call, placement, types of outcome                                      |
| learning   | everything but gateways, admin, router, main                                  |
| telemetry  | types of call, types of fleet, types of placement, types of outcome           |
| router     | call, fleet, prediction, impact, placement, hold, outcome, log, telemetry     |
| gateways   | call, outcome, router, telemetry                                              |
| admin      | log, config, clock                                                            |
| main       | anything                                                                      |
`)
const TABLE = new Map([...DESIGN].map(([room, { values, types }]) => [room, { values, types: new Set([...types, 'clock', 'rng']) }]))

const DOORS: readonly Door[] = [
  { packages: /^(better-sqlite3|node:sqlite)$/, folder: 'plugin/log/' },
  { packages: /^onnx/, folder: 'plugin/neural/' },
  { packages: /^(@grpc\/|grpc|nice-grpc|@bufbuild\/|@connectrpc\/|protobufjs$|google-protobuf$)/, folder: 'plugin/gateways/envoy/' },
  { packages: /^@opentelemetry\//, folder: 'plugin/telemetry/' },
  { packages: /^(handlebars|express-handlebars|hbs)$/, folder: 'admin/' },
]

/** No I/O shell is listed beside the clock and the dice: even those get them passed in. */
const RESERVED: readonly Reserved[] = [
  { what: 'the environment', code: /\bprocess\s*\??\.\s*env\b|\bprocess\[|\{[^}]*\benv\b[^}]*\} = process\b/, files: ['plugin/config.ts'] },
  {
    what: 'the time',
    code: /\bDate\s*\.\s*now\b|\bnew Date\(\s*\)|\bDate\(\s*\)|\bperformance\s*\.\s*now\b|\bhrtime\b/,
    files: ['plugin/clock.ts'],
  },
  { what: 'chance', code: /\bMath\s*\.\s*random\b/, files: ['plugin/rng.ts'] },
]

const root = new URL('..', import.meta.url)
const files = globSync(['plugin/**/*.ts', 'admin/**/*.ts'], { cwd: root, exclude: (path) => String(path).includes('node_modules') })
  .map((path) => path.replaceAll('\\', '/'))
  .sort()
  .map((path) => ({ path, text: readFileSync(new URL(path, root), 'utf8') }))

test('there is something to check', () => {
  expect(files.map((file) => file.path)).toContain('plugin/router.ts')
})

test('rooms import only what the table lets them', () => {
  expect(importViolations(files, TABLE)).toEqual([])
})

test('each guarded package has one door', () => {
  expect(doorViolations(files, DOORS)).toEqual([])
})

test('only config.ts reads the environment, only clock.ts the time, only rng.ts throws dice', () => {
  expect(reservedViolations(files, RESERVED)).toEqual([])
})

test('no drawer, no barrel, no default export, no file over 300 lines', () => {
  expect(shapeViolations(files)).toEqual([])
})

test('every exported function of the plugin says what it is', () => {
  expect(docstringViolations(files.filter((file) => file.path.startsWith('plugin/')))).toEqual([])
})

const made = (path: string, text: string) => [{ path, text }]

test.each([
  ["import { createRouter } from '../router-place.ts'", 'placement may not import router'],
  ["import type { Outcome } from '../outcome/outcome.ts'", 'placement may not import outcome'],
  ["import { systemClock } from '../clock.ts'", 'placement may not import clock; only with `import type`'],
  ["export { queue } from '../log/queue.ts'", 'placement may not import log'],
  ["export * from '../log/queue.ts'", 'placement may not import log'],
  ["import '../gateways/openai/server.ts'", 'placement may not import gateways'],
  ["const lazy = await import('../telemetry/telemetry.ts')", 'placement may not import telemetry'],
  ["new Worker(new URL('../log/thread.ts', import.meta.url))", 'placement may not import log'],
  ["import { fake } from '../../test/fakes/fleet.ts'", 'outside plugin/ and admin/'],
  ["import {\n  one,\n  type Two,\n} from '../admin/chart.ts'", 'placement may not import admin'],
])('a forbidden import is found: %s', (line, sentence) => {
  expect(importViolations(made('plugin/placement/bad.ts', `// a file\nconst a = 1\n${line}\n`), TABLE)).toEqual([
    expect.stringContaining(sentence),
  ])
})

test.each([
  "import type { Clock } from '../clock.ts'",
  "import { seedOf } from '../rng.ts'",
  "import { AT } from './features.ts'",
  "/* import { a } from '../log/a.ts' */",
  "// import { a } from '../log/a.ts'",
  'const text = "import a from \'b\'"',
])('what is allowed is not complained about: %s', (line) => {
  expect(importViolations(made('plugin/placement/good.ts', `${line}\n`), TABLE)).toEqual([])
})

test('a types-only row refuses a value', () => {
  expect(importViolations(made('plugin/log/bad.ts', "import { meter } from '../outcome/meter.ts'"), TABLE)).toEqual([
    'plugin/log/bad.ts imports plugin/outcome/meter.ts: log may not import outcome; only with `import type`',
  ])
})

test('a room that the table does not know is a violation, and so is a row about a room that has none', () => {
  expect(importViolations(made('plugin/cellar/wine.ts', ''), TABLE)).toEqual([expect.stringContaining('"cellar" has no row')])
  expect(() => parseTable('| a | b |')).toThrow('names "b"')
})

test.each([
  ["import Database from 'better-sqlite3'", 'plugin/router.ts', 'plugin/log/'],
  ["import { InferenceSession } from 'onnxruntime-node'", 'plugin/prediction/length.ts', 'plugin/neural/'],
  ["import * as grpc from '@grpc/grpc-js'", 'plugin/gateways/openai/server.ts', 'plugin/gateways/envoy/'],
  ["import type { Span } from '@opentelemetry/api'", 'plugin/router.ts', 'plugin/telemetry/'],
  ["import Handlebars from 'handlebars'", 'plugin/log/page.ts', 'admin/'],
  ["const otel = await import('@opentelemetry/sdk-node')", 'admin/app.ts', 'plugin/telemetry/'],
])('a package taken past its door is found: %s in %s', (line, path, folder) => {
  expect(doorViolations(made(path, line), DOORS)).toEqual([expect.stringContaining(folder)])
  expect(doorViolations(made(`${folder}door.ts`, line), DOORS)).toEqual([])
})

test('a clock, dice or the environment are found with their line, but not in words', () => {
  const bad = [
    '/** Not Date.now(). */',
    'const a = Date.now()',
    `const b = \`at $\{performance.now()}\``,
    'const c = Math.random() // Math.random()',
    'const d = process.env.HOME',
    "const e = 'Date.now()'",
  ].join('\n')
  expect(reservedViolations(made('plugin/hold/bad.ts', bad), RESERVED)).toEqual([
    'plugin/hold/bad.ts:5: the environment belongs to plugin/config.ts',
    'plugin/hold/bad.ts:2: the time belongs to plugin/clock.ts',
    'plugin/hold/bad.ts:3: the time belongs to plugin/clock.ts',
    'plugin/hold/bad.ts:4: chance belongs to plugin/rng.ts',
  ])
  expect(reservedViolations(made('plugin/clock.ts', 'const a = Date.now()'), RESERVED)).toEqual([])
})

test('a drawer, a barrel, a default export and a long file are found', () => {
  const long = 'const a = 1\n'.repeat(301)
  expect(shapeViolations(made('plugin/common/index.ts', `export default 1\n${long}`))).toEqual([
    expect.stringContaining('"common"'),
    expect.stringContaining('no index.ts'),
    expect.stringContaining('302 lines'),
    expect.stringContaining('no default export'),
  ])
  expect(shapeViolations(made('plugin/log/rows.ts', 'const a = 1\n'.repeat(300)))).toEqual([])
})

test('an exported function without a sentence above it is found, an arrow too', () => {
  const bare = 'export function place() {}\nexport const hold = (a: number): number => a\nexport const LIMIT = 3\n'
  expect(docstringViolations(made('plugin/hold/bad.ts', bare))).toHaveLength(2)
  expect(docstringViolations(made('plugin/hold/good.ts', '/** Places. */\nexport async function place() {}\n'))).toEqual([])
})

test('files belong to the room of their folder or first word, and all their imports are seen', () => {
  expect(['plugin/router-ticket.ts', 'plugin/log/read/now.ts', 'admin/pages/fleet.ts', 'test/x.ts'].map(roomOf)).toEqual([
    'router',
    'log',
    'admin',
    undefined,
  ])
  const text =
    "import type { A } from './a.ts'\nexport type X = A\nexport { d } from './d.ts'\nimport b, { c } from '@scope/pack/deep'\nimport 'node:fs'\n"
  expect(importsOf({ path: 'plugin/log/x.ts', text })).toEqual([
    { target: 'plugin/log/a.ts', ours: true, typeOnly: true },
    { target: 'plugin/log/d.ts', ours: true, typeOnly: false },
    { target: '@scope/pack', ours: false, typeOnly: false },
    { target: 'node:fs', ours: false, typeOnly: false },
  ])
})
