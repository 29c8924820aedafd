import type { Clock } from '../clock.ts'
import type { NightConfig } from '../config-night.ts'
import type { ModelKind, ModelRecord } from '../log/control/models.ts'
import type { TrainingRun } from '../log/control/training.ts'
import type { Control } from '../log/control.ts'
import type { Reader } from '../log/read/reader.ts'
import { readExtent } from '../log/read/stored-calls.ts'
import type { TimeRange } from '../log/read/traffic.ts'
import { createRng, type Rng } from '../rng.ts'
import { openDataset } from './dataset.ts'
import { type NightDesk, NothingToLearn } from './night-desk.ts'
import { type Gathered, gather, leftOutWords } from './night-gather.ts'
import { type MadeProfiles, makeLength, makePolicy, makeProfiles } from './night-makers.ts'

/** What a night works with. */
export interface NightParts {
  readonly run: TrainingRun
  readonly desk: NightDesk
  readonly reader: Reader
  readonly control: Control
  readonly dataDir: string
  readonly clock: Clock
  readonly config: NightConfig
  readonly pools: readonly NightPool[]
}

/** What the configuration says of a pool: the rule that serves until a model is promoted, written as an arm of the twin. */
export interface NightPool {
  readonly name: string
  readonly arm: string
  /** How a learned policy would serve it: `learned`, with another hold where the operator has named one. */
  readonly learned: string
  readonly scrapeMs: number
}

/** A version that a night made and judged. */
export interface Made {
  readonly kind: ModelKind
  readonly version: string
  readonly modelId: number
  readonly passed: boolean
  readonly words: string
}

/** What the makers of single parts get. */
export interface Night extends NightParts {
  readonly gathered: Gathered
  readonly seed: number
  readonly rng: Rng
  /** Of the run, for cards: makes the same models from the same log. */
  readonly command: string
  champion(kind: ModelKind): ModelRecord | undefined
}

const DAY_MS = 86_400_000

/**
 * One night: reads the log, calibrates the fleet's profiles, trains lengths and policy, judges each on later calls and registers what it made as challengers. What an
 * earlier attempt of the run had finished is not made again. Throws NothingToLearn, RunCancelled, or what broke; the serving models are never touched.
 */
export async function runNight(parts: NightParts): Promise<readonly Made[]> {
  const { run, desk, control } = parts
  const { plan } = run
  const range = rangeOf(parts)
  const seed = plan.seed ?? parts.config.seed
  const rng = createRng(seed)
  desk.progress('reading', 0)
  const gathered = await readLog(parts, range, rng.stream('gather'))
  const night: Night = {
    ...parts,
    gathered,
    seed,
    rng,
    command: commandOf(run, range, seed),
    champion: (kind) => control.models.withAlias(kind, 'champion'),
  }
  const wants = (part: NonNullable<typeof plan.only>): boolean => plan.only === undefined || plan.only === part
  const made: Made[] = []
  // Lengths need no fleet.
  const profiles: MadeProfiles =
    plan.only === 'length' ? { fits: [], fleets: [] } : await makeProfiles(night, { registers: wants('profiles') })
  if (profiles.made) made.push(profiles.made)
  if (wants('length')) made.push(...(await makeLength(night)))
  if (wants('policy')) made.push(...(await makePolicy(night, profiles)))
  desk.progress('registering', 1)
  desk.tell({ made: made.map(({ kind, version, passed }) => ({ kind, version, passed })) })
  return made
}

/** The window, fixed at the first attempt so that a later one reads the same calls. */
function rangeOf({ run, desk, clock, config }: NightParts): TimeRange {
  const fixed = (JSON.parse(run.detail) as { readonly range?: TimeRange }).range
  if (fixed) return fixed
  const toUnixMs = run.toUnixMs ?? clock.nowUnixMs()
  const range = { fromUnixMs: run.fromUnixMs ?? toUnixMs - config.days * DAY_MS, toUnixMs }
  desk.tell({ range })
  return range
}

async function readLog({ run, desk, reader, config }: NightParts, range: TimeRange, rng: Rng): Promise<Gathered> {
  const extent = reader.read((query) => readExtent(query, range))
  const window = `${new Date(range.fromUnixMs).toISOString()} to ${new Date(range.toUnixMs).toISOString()}`
  desk.say(`${extent.calls} calls from ${window}, ${extent.completed} of them answered`)
  if (extent.calls === 0) throw new NothingToLearn(`there are no calls from ${window}: choose another window, or let traffic through first`)
  const splitUnixMs = Math.round(extent.lastUnixMs - config.heldOut * (extent.lastUnixMs - extent.firstUnixMs))
  const dataset = openDataset({ reader, range, decisions: true })
  const gathered = await gather({
    calls: dataset.calls(),
    counts: dataset.counts,
    pools: extent.pools,
    splitUnixMs,
    rng,
    application: run.plan.application,
    async told(calls) {
      desk.progress('reading', calls / extent.calls)
      await desk.breathe()
    },
  })
  const { read, used, mended, leftOut } = dataset.counts
  const without = leftOutWords(dataset.counts)
  desk.say(
    `${used} of ${read} rows can be used${without === '' ? '' : `; left out: ${without}`}${mended > 0 ? `; ${mended} of an older feature list` : ''}`,
  )
  desk.say(
    `calls before ${new Date(splitUnixMs).toISOString()} train, ${gathered.heldOut.length} later ones of pool ${gathered.pool} judge`,
  )
  desk.tell({ calls: read, used, mended, leftOut, splitUnixMs, pool: gathered.pool })
  return gathered
}

function commandOf({ plan }: TrainingRun, { fromUnixMs, toUnixMs }: TimeRange, seed: number): string {
  const options = [
    `--from ${new Date(fromUnixMs).toISOString()} --to ${new Date(toUnixMs).toISOString()} --seed ${seed}`,
    plan.only === undefined ? '' : `--only ${plan.only}`,
    plan.application === undefined ? '' : `--application ${plan.application}`,
  ]
  return `npm run phasewise -- train ${options.filter((text) => text !== '').join(' ')}`
}
