import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { stringify } from 'yaml'
import { systemClock } from '../../plugin/clock.ts'
import { type Control, openControl } from '../../plugin/log/control.ts'
import { databasePath } from '../../plugin/log/migrate.ts'
import { madeRows, writeLog } from '../learning/made-log.ts'
import { START_UNIX_MS } from '../log/row.ts'
import { freePorts, makeFolder, runPhasewise } from './processes.ts'

/** Calls of a fleet of three, as a router would have logged them. */
export const ROWS = madeRows({ calls: 3_000, seed: 5 })
const WINDOW = ['--from', String(START_UNIX_MS - 1), '--to', String(START_UNIX_MS + 1e9)]

/** Free ports, for a test that starts all of Phasewise. */
async function ports(): Promise<Record<string, unknown>> {
  const [proxy, admin, metrics, placements, envoy] = await freePorts(5)
  return {
    gateways: { openai: { listen: proxy }, placements: { listen: placements }, envoy: { listen: envoy } },
    admin: { listen: admin },
    telemetry: { metrics },
  }
}

/** A data directory with a log to train on. */
export interface TrainerSite {
  readonly folder: string
  readonly dataDir: string
  control(): Control
  /** Writes the configuration anew; `night` is laid over its section. */
  configure(night: Record<string, unknown>): void
}

/** A folder with these calls in its log. */
export async function makeTrainerSite(rows = ROWS): Promise<TrainerSite> {
  const folder = makeFolder()
  const dataDir = join(folder, '.phasewise')
  const instances = ['old-1', 'old-2', 'new-1'].map((name) => ({ name, url: `http://10.1.0.1/${name}` }))
  const doors = await ports()
  const configure = (night: Record<string, unknown>): void => {
    const pools = [{ name: 'llama', policy: 'least-request', instances }]
    const file = { pools, night: { schedule: 'off', generations: 1, ...night }, ...doors }
    writeFileSync(join(folder, 'phasewise.yaml'), stringify(file))
  }
  configure({})
  mkdirSync(dataDir)
  await writeLog(dataDir, rows)
  const control = (): Control => {
    const opened = openControl({ path: databasePath(dataDir, 'control'), clock: systemClock })
    onTestFinished(() => opened.close())
    return opened
  }
  return { folder, dataDir, control, configure }
}

/** The command over the whole log. */
export const train = (site: TrainerSite, ...args: readonly string[]) => runPhasewise(['train', ...WINDOW, ...args], { cwd: site.folder })

/** Every file that models are made of, as it is on disk. */
export function modelFiles(dataDir: string): Record<string, string> {
  const at = join(dataDir, 'models')
  const files = existsSync(at) ? (readdirSync(at, { recursive: true, withFileTypes: true }) ?? []) : []
  return Object.fromEntries(
    files
      .filter((file) => file.isFile())
      .map((file) => {
        const path = join(file.parentPath, file.name)
        return [path.slice(at.length), readFileSync(path).toString('base64')]
      }),
  )
}
