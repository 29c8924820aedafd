import { createHash } from 'node:crypto'
import { globSync, readFileSync } from 'node:fs'
import type { ScrapeMs } from '../../../plugin/simulation/fleet/scrape-plan.ts'
import { parseArm, playArm } from '../../../plugin/simulation/scenario/arm.ts'
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
}

/** A unit done: the score of each arm, and the CPU µs per decision it took altogether. */
export interface Done {
  readonly unit: Unit
  readonly scores: Readonly<Record<string, Score>>
}

/** Names a unit among all; an arm is added to the name by who stores single arms. */
export function keyOf({ arms: _, ...rest }: Unit): string {
  return JSON.stringify(rest)
}

/** Plays all arms of a unit. */
export function playUnit(unit: Unit, scenario: Scenario): Done {
  const { seed, rateFactor, sigma, routers, scrapeMs } = unit
  const calls = scenario.calls({ seed, sigma, rateFactor })
  const scores: Record<string, Score> = {}
  for (const arm of unit.arms) scores[arm] = playArm(parseArm(arm), { scenario, calls, seed, routers, scrapeMs })
  return { unit, scores }
}

/** Changes with any code that decides a figure, so that a resumed run never mixes figures of two versions. */
export function codeVersion(): string {
  const root = new URL('../../../plugin/', import.meta.url)
  const hash = createHash('sha256')
  for (const file of globSync('{simulation,placement,impact,hold,fleet,rng.ts}{,/**/*.ts}', { cwd: root }).sort())
    if (file.endsWith('.ts')) hash.update(file).update(readFileSync(new URL(file, root)))
  return hash.digest('hex').slice(0, 12)
}
