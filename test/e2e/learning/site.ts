import { join } from 'node:path'
import { systemClock } from '../../../plugin/clock.ts'
import { type Control, openControl } from '../../../plugin/log/control.ts'
import { databasePath } from '../../../plugin/log/migrate.ts'
import { openReader, type Reader } from '../../../plugin/log/read/reader.ts'
import { createRng } from '../../../plugin/rng.ts'
import { fleetCallsPerS } from '../../../plugin/simulation/saturation.ts'
import { startVirtualFleet, VIRTUAL_MODEL, type VirtualInstanceSpec } from '../../../plugin/simulation/virtual-fleet.ts'
import { makeSite, type RunningProcess, runPhasewise } from '../processes.ts'
import { drawLengths, type Seen, sendTraffic } from './traffic.ts'

/** Four times faster than real: every duration of engine and router scaled alike. */
export const TIME_FACTOR = 4

/** Two old cards, one newer, one of another kind: what nobody told Phasewise but for a rough speed. */
const FLEET: readonly VirtualInstanceSpec[] = [
  { name: 'old-1', profile: 'v100-llama-2-7b' },
  { name: 'old-2', profile: 'v100-llama-2-7b' },
  { name: 'new-1', profile: 'a100-llama-2-7b' },
]

export interface LearningSite {
  readonly folder: string
  /** Address of the admin that lets the first who opens it choose name and password. */
  readonly signIn: string
  readonly control: Control
  readonly reader: Reader
  /** Load as a share of the fleet's capacity for this traffic. */
  day(given: { readonly name: string; readonly seconds: number; readonly load: number }): Promise<Seen>
  /** Runs `phasewise …args` in the site's folder and gives what it printed; `ended` is its exit code. */
  command(...args: readonly string[]): Promise<{ readonly text: string; readonly ended: number | NodeJS.Signals }>
  start(...args: readonly string[]): RunningProcess
  close(): Promise<void>
}

/** A heterogeneous virtual fleet behind a Phasewise that places by least-request. */
export async function startLearningSite(night: Record<string, unknown> = {}): Promise<LearningSite> {
  const specs = FLEET.map((spec) => ({ ...spec, timeFactor: TIME_FACTOR }))
  const fleet = await startVirtualFleet({ specs, clock: systemClock })
  const instances = fleet.instances.map(({ name, url }) => ({ name, url }))
  const site = await makeSite({
    pools: [{ name: VIRTUAL_MODEL, engine: 'virtual', policy: 'least-request', instances }],
    scrape: { intervalMs: 62 },
    night: { schedule: 'off', canary: { timeFactor: TIME_FACTOR, share: 0.5, blockMs: 8_000, washoutMs: 2_500 }, ...night },
  })
  const phasewise = runPhasewise(['start'], { cwd: site.folder })
  const [, signIn = site.admin] = await phasewise.printed(/admin +(http:\S+)/)
  await phasewise.printed(/first calls:/)
  const dataDir = join(site.folder, '.phasewise')
  const control = openControl({ path: databasePath(dataDir, 'control'), clock: systemClock })
  const reader = openReader(databasePath(dataDir, 'log'))
  const capacity = fleetCallsPerS(specs, drawLengths)
  const start = (...args: readonly string[]): RunningProcess => runPhasewise(args, { cwd: site.folder })
  return {
    folder: site.folder,
    signIn,
    control,
    reader,
    start,
    day: ({ name, seconds, load }) =>
      sendTraffic({ url: site.proxy, model: VIRTUAL_MODEL, callsPerS: load * capacity, seconds, rng: createRng(7).stream(name) }),
    async command(...args) {
      const child = start(...args)
      const ended = await child.exited
      return { text: child.text(), ended }
    },
    async close() {
      control.close()
      reader.close()
      phasewise.kill('SIGTERM')
      await phasewise.exited
      await fleet.close()
    },
  }
}
