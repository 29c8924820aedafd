import { createHash } from 'node:crypto'
import { globSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type EngineShape, scaleLaw } from '../../../plugin/impact/engine-shape.ts'
import { readPolicyModel } from '../../../plugin/learning/policy-folder.ts'
import type { LearnedModel } from '../../../plugin/placement/learned-model.ts'
import { createRng } from '../../../plugin/rng.ts'
import type { TwinPredictor } from '../../../plugin/simulation/fleet/router-parts.ts'
import type { ScrapeMs } from '../../../plugin/simulation/fleet/scrape-plan.ts'
import { type Circumstances, parseArm, playArm } from '../../../plugin/simulation/scenario/arm.ts'
import type { Scenario } from '../../../plugin/simulation/scenario/scenarios.ts'
import type { Score } from '../../../plugin/simulation/scenario/score.ts'

/** One seed of one scenario under given circumstances, for all arms: they meet the same calls. */
export interface Unit {
  readonly scenario: string
  readonly seed: number
  readonly arms: readonly string[]
  readonly rateFactor: number
  readonly routers: number
  readonly scrapeMs: ScrapeMs
  readonly sigma: number
  /** Every profile is believed to be so many times slower than it is. */
  readonly believedFactor?: number
  /** Lengths are predicted by chance alone. */
  readonly blind?: true
  /** The first instance is so many times slower from the start, and nobody is told. */
  readonly slowFactor?: number
  /** Half of the calls come through another gateway that deals them out in turn; the other half is counted. */
  readonly foreign?: true
}

/** A unit done: the score of each arm, and the CPU µs per decision it took altogether. */
export interface Done {
  readonly unit: Unit
  readonly scores: Readonly<Record<string, Score>>
}

/** The arm by which a score is stored: a learned one with its model and the code that is its alone. */
export function storedArm(arm: string, model: string): string {
  return arm.startsWith(LEARNED) ? `${arm} @ ${model}` : arm
}

const LEARNED = 'learned'

/** Names a unit among all; an arm is added to the name by who stores single arms. */
export function keyOf({ arms: _, ...rest }: Unit): string {
  return JSON.stringify(rest)
}

/** Plays all arms of a unit. */
export function playUnit(unit: Unit, scenario: Scenario, model: LearnedModel | undefined): Done {
  const { seed, rateFactor, sigma, routers, scrapeMs } = unit
  const calls = scenario.calls({ seed, sigma, rateFactor })
  const scores: Record<string, Score> = {}
  const circumstances = { seed, routers, scrapeMs, ...troubles(unit, scenario) }
  for (const arm of unit.arms) scores[arm] = playArm(parseArm(arm), { scenario, calls, ...circumstances, ...(model ? { model } : {}) })
  return { unit, scores }
}

/** What else goes wrong in the unit, as the twin takes it. */
function troubles({ believedFactor, blind, slowFactor, foreign, seed }: Unit, scenario: Scenario): Troubles {
  const [first] = scenario.fleet
  return {
    ...(believedFactor === undefined ? {} : { believes: believing(scenario, believedFactor) }),
    ...(blind ? { predictor: () => blindPredictor(seed) } : {}),
    ...(slowFactor === undefined ? {} : { script: [{ atMs: 0, instance: first?.name ?? '', what: 'slow', factor: slowFactor }] }),
    ...(foreign ? { foreignPolicy: 'round-robin' } : {}),
  }
}

type Troubles = Pick<Circumstances, 'believes' | 'predictor' | 'script' | 'foreignPolicy'>

function believing({ fleet }: Scenario, factor: number): (name: string) => EngineShape {
  const shapes = new Map(fleet.map(({ name, profile }) => [name, { ...profile, law: scaleLaw(profile.law, factor) }]))
  return (name) => shapes.get(name) as EngineShape
}

/** Log-normal around a common length, whatever the call is. */
function blindPredictor(seed: number): TwinPredictor {
  const dice = createRng(seed).stream('blind predictor')
  return { predict: () => ({ tokens: Math.max(1, Math.round(150 * Math.exp(dice.normal()))) }), learn: () => undefined }
}

/** Files whose code only learned arms run through. */
const LEARNED_FILES = /(^|\/)(learned[\w-]*|engine-costs)\.ts$/

/** Names model and code of the learned arms, so that the peers' scores outlive another model. */
export function learnedVersion(folder: string): string {
  const hash = createHash('sha256')
  for (const file of readdirSync(folder).sort()) if (file.endsWith('.onnx')) hash.update(readFileSync(join(folder, file)))
  for (const file of filesOf('{placement,hold}/**/*.ts')) if (LEARNED_FILES.test(file)) hash.update(readFileSync(new URL(file, PLUGIN)))
  return hash.digest('hex').slice(0, 8)
}

/** The model of the folder. Throws ModelRefused where it cannot serve. */
export function readModel(folder: string): LearnedModel {
  return readPolicyModel(folder)
}

const PLUGIN = new URL('../../../plugin/', import.meta.url)

function filesOf(pattern: string): string[] {
  return globSync(pattern, { cwd: PLUGIN }).sort()
}

/** Changes with any code that decides a figure, so that a resumed run never mixes figures of two versions. */
export function codeVersion(): string {
  const hash = createHash('sha256')
  for (const file of filesOf('{simulation,placement,impact,hold,fleet,rng.ts}{,/**/*.ts}'))
    if (file.endsWith('.ts') && !LEARNED_FILES.test(file)) hash.update(file).update(readFileSync(new URL(file, PLUGIN)))
  return hash.digest('hex').slice(0, 12)
}
