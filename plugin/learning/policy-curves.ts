import { scaleLinear } from 'd3-scale'
import { line } from 'd3-shape'
import type { PolicyProgress } from './policy-train.ts'

const WIDTH = 720
const HEIGHT = 360
const MARGIN = { left: 60, right: 20, top: 40, bottom: 40 }
/** Generations that a curve is averaged over: each plays other tasks, so that single ones jump. */
const SMOOTHED = 10

/** Training curves as an SVG: loss of the mean model and of each generation's best, smoothed. Empty where nothing was trained. */
export function drawCurves(history: readonly PolicyProgress[]): string {
  if (history.length === 0) return ''
  const curves = [
    { name: 'mean model', colour: '#1f6feb', values: smooth(history.map((one) => one.centreLoss)) },
    { name: 'best candidate', colour: '#1a7f37', values: smooth(history.map((one) => one.bestLoss)) },
    { name: 'candidates', colour: '#9a6700', values: smooth(history.map((one) => one.meanLoss)) },
  ]
  const all = curves.flatMap((curve) => curve.values)
  const x = scaleLinear([1, Math.max(2, history.length)], [MARGIN.left, WIDTH - MARGIN.right])
  const y = scaleLinear([Math.min(...all), Math.max(...all)], [HEIGHT - MARGIN.bottom, MARGIN.top]).nice()
  const ticks = y.ticks(6).map((tick) => {
    const at = y(tick)
    return `<path d="M${MARGIN.left},${at}H${WIDTH - MARGIN.right}" stroke="#d0d7de"/><text x="${MARGIN.left - 6}" y="${at + 4}" text-anchor="end">${tick}</text>`
  })
  const generations = x.ticks(8).map((tick) => `<text x="${x(tick)}" y="${HEIGHT - 18}" text-anchor="middle">${tick}</text>`)
  const path = line<number>(
    (_, i) => x(i + 1),
    (value) => y(value),
  )
  const drawn = curves.map(
    ({ name, colour, values }, i) =>
      `<path d="${path(values) ?? ''}" fill="none" stroke="${colour}" stroke-width="2"/><text x="${MARGIN.left + 10 + 150 * i}" y="24" fill="${colour}">${name}</text>`,
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" role="img" aria-label="Loss by generation">${[...ticks, ...generations, ...drawn].join('')}</svg>\n`
}

function smooth(values: readonly number[]): number[] {
  return values.map((_, i) => {
    const window = values.slice(Math.max(0, i - SMOOTHED + 1), i + 1)
    return window.reduce((sum, value) => sum + value, 0) / window.length
  })
}
