import { createHash } from 'node:crypto'
import { globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { PaperSettings } from '../../../plugin/learning/paper-constants.ts'
import type { PaperArm } from '../../../plugin/learning/paper-reward.ts'
import { type PaperNet, trainPaper } from '../../../plugin/learning/paper-train.ts'
import type { Scenario } from '../../../plugin/simulation/scenario/scenarios.ts'
import { codeVersion } from '../placement/work.ts'
import type { EpisodeTimes } from './curves.ts'

/** Trained nets of earlier runs, by everything that makes them. */
const NETS_DIR = new URL('../../../.phasewise/bench/paper-nets/', import.meta.url).pathname

/** Which net. */
export interface NetPlan {
  readonly arm: PaperArm
  readonly scenario: Scenario
  readonly seed: number
  readonly settings: PaperSettings
}

/** A net with how its training went. */
export interface KeptNet {
  readonly net: PaperNet
  readonly episodes: EpisodeTimes
}

/** The net of the plan: from an earlier run of the same code and constants, else trained now. */
export async function netOf(plan: NetPlan): Promise<KeptNet> {
  const { arm, scenario, seed, settings } = plan
  const key = JSON.stringify([codeVersion(), learningVersion(), arm, scenario.name, scenario.callsPerS, seed, settings])
  const file = join(NETS_DIR, `${createHash('sha256').update(key).digest('hex').slice(0, 24)}.json`)
  const kept = readKept(file)
  if (kept) {
    const parameters = Float32Array.from(kept.parameters)
    return { net: { arm, instances: scenario.fleet.length, parameters }, episodes: kept.episodes }
  }
  const episodes: number[] = []
  const net = await trainPaper({ ...plan, onEpisode: ({ score }) => episodes.push(score.meanE2eMs) })
  mkdirSync(NETS_DIR, { recursive: true })
  writeFileSync(file, JSON.stringify({ parameters: [...net.parameters], episodes }))
  return { net, episodes }
}

function readKept(file: string): { readonly parameters: readonly number[]; readonly episodes: EpisodeTimes } | undefined {
  if (globSync(file).length === 0) return undefined
  return JSON.parse(readFileSync(file, 'utf8')) as ReturnType<typeof readKept>
}

function learningVersion(): string {
  const root = new URL('../../../plugin/', import.meta.url)
  const hash = createHash('sha256')
  for (const file of globSync(['learning/paper-{episode,net,replay,reward,state,train}.ts', 'neural/*.ts'], { cwd: root }).sort())
    hash.update(file).update(readFileSync(new URL(file, root)))
  return hash.digest('hex').slice(0, 12)
}
