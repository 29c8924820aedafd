import { levelOf } from '../../../plugin/learning/length.ts'
import type { Judged } from '../../../plugin/learning/measures.ts'

/** Plots as SVG text, without a library: two polylines and axes. */
const SIZE = 320
const MARGIN = 44

export interface Curve {
  readonly name: string
  readonly colour: string
  /** x and y from 0 to 1. */
  readonly points: readonly (readonly [x: number, y: number])[]
}

export interface Axes {
  readonly title: string
  readonly x: string
  readonly y: string
  readonly xTicks: readonly (readonly [at: number, label: string])[]
  readonly yTicks: readonly (readonly [at: number, label: string])[]
  /** Draw where x equals y. */
  readonly diagonal?: true
}

/** A square plot with a legend. */
export function drawCurves({ title, x, y, xTicks, yTicks, diagonal }: Axes, curves: readonly Curve[]): string {
  const px = (value: number): string => (MARGIN + value * SIZE).toFixed(1)
  const py = (value: number): string => (MARGIN + (1 - value) * SIZE).toFixed(1)
  const lines = curves.map(
    ({ points, colour }) =>
      `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${points.map(([a, b]) => `${px(a)},${py(b)}`).join(' ')}"/>`,
  )
  const legend = curves.map(({ name, colour }, i) => `<text x="${MARGIN + 8}" y="${MARGIN + 16 + 16 * i}" fill="${colour}">${name}</text>`)
  const ticks = [
    ...xTicks.map(([at, label]) => `<text x="${px(at)}" y="${MARGIN + SIZE + 16}" text-anchor="middle">${label}</text>`),
    ...yTicks.map(([at, label]) => `<text x="${MARGIN - 6}" y="${py(at)}" text-anchor="end">${label}</text>`),
  ]
  const all = SIZE + 2 * MARGIN
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${all} ${all}" font-family="sans-serif" font-size="12">`,
    `<rect width="${all}" height="${all}" fill="white"/>`,
    `<text x="${all / 2}" y="20" text-anchor="middle" font-size="14">${title}</text>`,
    `<rect x="${MARGIN}" y="${MARGIN}" width="${SIZE}" height="${SIZE}" fill="none" stroke="#999"/>`,
    ...(diagonal ? [`<line x1="${px(0)}" y1="${py(0)}" x2="${px(1)}" y2="${py(1)}" stroke="#bbb" stroke-dasharray="4"/>`] : []),
    ...ticks,
    ...lines,
    ...legend,
    `<text x="${all / 2}" y="${all - 8}" text-anchor="middle">${x}</text>`,
    `<text x="12" y="${all / 2}" text-anchor="middle" transform="rotate(-90 12 ${all / 2})">${y}</text>`,
    '</svg>\n',
  ].join('\n')
}

/** Share of answers below each stated probability level: the diagonal is perfect. */
export function reliability(name: string, colour: string, rows: readonly Judged[]): Curve {
  const levels = rows.map((row) => levelOf(row.distribution.cumulative, row.outputTokens, row.within))
  const points = Array.from({ length: 21 }, (_, i) => [i / 20, levels.filter((level) => level <= i / 20).length / rows.length] as const)
  return { name, colour, points }
}

export const UNIT_TICKS = [0, 0.25, 0.5, 0.75, 1].map((at) => [at, String(at)] as const)
