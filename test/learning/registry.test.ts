import { appendFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { createManualClock } from '../../plugin/clock.ts'
import { ModelUnfit, type Registering, readRegistered, registerModel, versionOf } from '../../plugin/learning/registry.ts'
import { type Control, openControl } from '../../plugin/log/control.ts'
import { databasePath, migrateDataDirectory } from '../../plugin/log/migrate.ts'
import { freshFolder } from '../log/fresh.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const FILES = new Map([['model.json', bytes('{"w":[1,2]}')]])

function fresh(): { control: Control; dataDir: string; register: (change?: Partial<Registering>) => number } {
  const dataDir = freshFolder()
  migrateDataDirectory({ dataDir, nowUnixMs: 0 })
  const control = openControl({ path: databasePath(dataDir, 'control'), clock: createManualClock() })
  onTestFinished(() => control.close())
  const { models } = control
  const base = {
    dataDir,
    models,
    kind: 'length',
    version: versionOf('length', FILES),
    files: FILES,
    card: { rows: 5 },
    featureHash: 'abc',
  } as const
  return { control, dataDir, register: (change = {}) => registerModel({ ...base, ...change }) }
}

test('a version is its content: the same files are the same version, registered once', () => {
  const { control, dataDir, register } = fresh()
  const id = register()
  expect(register()).toBe(id)
  const model = control.models.get(id)!
  expect(model).toMatchObject({ kind: 'length', folder: `models/length/${model.version}`, featureHash: 'abc', parent: null })
  expect(model.version).toMatch(/^length-[0-9a-f]{8}$/)
  expect(versionOf('length', new Map([['model.json', bytes('{"w":[1,3]}')]]))).not.toBe(model.version)
  expect([...readRegistered(dataDir, model).keys()]).toEqual(['card.json', 'model.json'])
  expect(readdirSync(join(dataDir, 'models/length'))).toEqual([model.version])
})

test('a changed, added or missing file, or a missing folder, is refused by name', () => {
  const { control, dataDir, register } = fresh()
  const model = control.models.get(register())!
  const at = join(dataDir, model.folder)
  const refused = (): string => {
    try {
      readRegistered(dataDir, model)
    } catch (error) {
      expect(error).toBeInstanceOf(ModelUnfit)
      return (error as Error).message
    }
    return 'accepted'
  }
  expect(refused()).toBe('accepted')
  appendFileSync(join(at, 'model.json'), ' ')
  expect(refused()).toContain(`${model.version} in ${at} is not what was registered`)
  writeFileSync(join(at, 'model.json'), '{"w":[1,2]}')
  expect(refused()).toBe('accepted')
  writeFileSync(join(at, 'more.json'), '')
  expect(refused()).toContain('not what was registered')
  rmSync(at, { recursive: true })
  expect(refused()).toContain(`${at} is not there`)
})

test('half a folder that a dead run left is replaced, never taken for a version', () => {
  const { control, dataDir, register } = fresh()
  const version = versionOf('length', FILES)
  for (const left of [`${version}.half`, version]) {
    mkdirSync(join(dataDir, 'models/length', left), { recursive: true })
    writeFileSync(join(dataDir, 'models/length', left, 'model.json'), '{"w":')
  }
  const model = control.models.get(register())!
  expect(readRegistered(dataDir, model).size).toBe(2)
  expect(existsSync(join(dataDir, 'models/length', `${version}.half`))).toBe(false)
})
