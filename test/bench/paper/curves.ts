import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PAPER_ARMS, type PaperArm } from '../../../plugin/learning/paper-reward.ts'
import { type Curve, drawCurves } from '../length/plots.ts'
import { meanOf } from '../placement/statistics.ts'

/** Mean E2E of each training episode, ms, of one seed. */
export type EpisodeTimes = readonly number[]

const COLOURS: Readonly<Record<PaperArm, string>> = { baseline: '#d1242f', aware: '#9a6700', guided: '#1f6feb' }
const FOLDER = new URL('../../../.phasewise/bench/paper/', import.meta.url).pathname
const Y_TICKS = [5, 10, 20, 50, 100, 200, 500]

/** Writes the arms' training curves on a scenario, means over seeds; a line at what round robin takes. Gives the file. */
export function plotTraining(
  scenario: string,
  { byArm, roundRobinMs }: { readonly byArm: ReadonlyMap<PaperArm, readonly EpisodeTimes[]>; readonly roundRobinMs: number },
): string {
  const means = PAPER_ARMS.flatMap((arm) => {
    const seeds = byArm.get(arm) ?? []
    return seeds.length === 0 ? [] : [{ arm, values: (seeds[0] ?? []).map((_, k) => meanOf(seeds.map((one) => one[k] as number))) }]
  })
  const episodes = Math.max(2, ...means.map(({ values }) => values.length))
  const all = [roundRobinMs, ...means.flatMap(({ values }) => values)].map(Math.log)
  const [low, high] = [Math.min(...all) - 0.1, Math.max(...all) + 0.1]
  const y = (ms: number): number => (Math.log(ms) - low) / (high - low)
  const x = (episode: number): number => episode / (episodes - 1)
  const flat: Curve = { name: 'round robin', colour: '#57606a', points: [0, 1].map((at) => [at, y(roundRobinMs)] as const) }
  const curves = means.map(({ arm, values }): Curve => ({ name: arm, colour: COLOURS[arm], points: values.map((ms, k) => [x(k), y(ms)]) }))
  const axes = {
    title: `${scenario}: mean E2E while training`,
    x: 'episode',
    y: 's',
    xTicks: Array.from({ length: episodes }, (_, k) => [x(k), String(k)] as const).filter((_, k) => k % Math.ceil(episodes / 10) === 0),
    yTicks: Y_TICKS.map((s) => [y(1000 * s), String(s)] as const).filter(([at]) => at >= 0 && at <= 1),
  }
  mkdirSync(FOLDER, { recursive: true })
  const file = join(FOLDER, `${scenario}.svg`)
  writeFileSync(file, drawCurves(axes, [flat, ...curves]))
  return file
}
