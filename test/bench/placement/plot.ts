import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { scaleBand, scaleLinear, scaleLog } from 'd3-scale'
import { line } from 'd3-shape'
import type { Cell } from './report.ts'

const WIDTH = 820
const MARGIN = { left: 210, right: 40, top: 46, bottom: 44 }
const BAR_HEIGHT = 18
const COLOURS = ['#1f6feb', '#d1242f', '#1a7f37', '#9a6700', '#8250df', '#57606a', '#bc4c00', '#0a7ea4']
/** Lines drawn in a latency plot beyond round robin: more cannot be told apart. */
const LINES_MAX = 7

/** One SVG per scenario: gain with interval of each arm, and latency against load where several loads were run. Gives the files. */
export function plotScenarios(cells: readonly Cell[], folder: string): string[] {
  mkdirSync(folder, { recursive: true })
  const files: string[] = []
  const write = (name: string, svg: string): void => {
    const file = join(folder, `${name.replace(/[^\w@.+-]+/g, '-')}.svg`)
    writeFileSync(file, svg)
    files.push(file)
  }
  for (const [key, group] of Map.groupBy(cells, (cell) => `${cell.scenario}|${cell.circumstances}`)) {
    const [scenario = '', circumstances = ''] = key.split('|')
    const swept = cells.some((cell) => cell.scenario === scenario && cell.circumstances !== circumstances)
    write(`${scenario}${swept ? ` ${circumstances}` : ''} gain`, gainPlot(scenario, circumstances, group))
  }
  for (const [scenario, group] of Map.groupBy(cells, (cell) => cell.scenario)) {
    const usual = group.filter((cell) => cell.unit.routers === 1 && cell.unit.scrapeMs === 50)
    if (new Set(usual.map((cell) => cell.unit.rateFactor)).size > 1) write(`${scenario} latency against load`, latencyPlot(scenario, usual))
  }
  return files
}

function gainPlot(scenario: string, circumstances: string, cells: readonly Cell[]): string {
  const sorted = cells.toSorted((a, b) => b.gainVsRoundRobin.mean - a.gainVsRoundRobin.mean)
  const height = MARGIN.top + MARGIN.bottom + sorted.length * BAR_HEIGHT
  const ends = sorted.flatMap(({ gainVsRoundRobin: gain }) => [gain.mean, gain.low, gain.high]).filter(Number.isFinite)
  const x = scaleLinear([Math.min(0, ...ends), Math.max(0.01, ...ends)], [MARGIN.left, WIDTH - MARGIN.right]).nice()
  const y = scaleBand(
    sorted.map((cell) => cell.arm),
    [MARGIN.top, height - MARGIN.bottom],
  ).padding(0.25)
  const bars = sorted.map(({ arm, gainVsRoundRobin: gain }) => {
    const top = y(arm) as number
    const middle = top + y.bandwidth() / 2
    const whisker = Number.isFinite(gain.low)
      ? `<path d="M${x(gain.low)},${middle}H${x(gain.high)}" stroke="#24292f" stroke-width="1.5"/>`
      : ''
    const [from, to] = [x(0), x(gain.mean)].sort((a, b) => a - b) as [number, number]
    return `<rect x="${from}" y="${top}" width="${Math.max(0.5, to - from)}" height="${y.bandwidth()}" fill="${gain.mean < 0 ? '#d1242f' : '#1f6feb'}" opacity="0.7"/>${whisker}<text x="${MARGIN.left - 8}" y="${middle}" text-anchor="end" dominant-baseline="middle">${escapeXml(arm)}</text>`
  })
  const ticks = x
    .ticks(8)
    .map(
      (tick) =>
        `<path d="M${x(tick)},${MARGIN.top}V${height - MARGIN.bottom}" stroke="#d0d7de"/><text x="${x(tick)}" y="${height - MARGIN.bottom + 16}" text-anchor="middle">${Math.round(1000 * tick) / 10} %</text>`,
    )
  return svg(height, `${scenario}: gain in mean E2E over round robin, 95 % interval (${circumstances})`, [...ticks, ...bars])
}

function latencyPlot(scenario: string, cells: readonly Cell[]): string {
  const height = 460
  const byArm = Map.groupBy(cells, (cell) => cell.arm)
  const rank = (group: readonly Cell[]): number => group.reduce((sum, cell) => sum + Math.log(cell.mean('meanE2eMs')), 0)
  const shown = [...byArm]
    .filter(([arm]) => arm !== 'round-robin')
    .sort(([, a], [, b]) => rank(a) - rank(b))
    .slice(0, LINES_MAX)
  const drawn = [['round-robin', byArm.get('round-robin') ?? []] as const, ...shown]
  const latencies = drawn.flatMap(([, group]) => group.map((cell) => cell.mean('meanE2eMs')))
  const loads = cells.map((cell) => cell.unit.rateFactor)
  const x = scaleLinear([Math.min(...loads), Math.max(...loads)], [70, WIDTH - 210])
  const y = scaleLog([0.9 * Math.min(...latencies), 1.1 * Math.max(...latencies)], [height - MARGIN.bottom, MARGIN.top])
  const path = line<Cell>(
    (cell) => x(cell.unit.rateFactor),
    (cell) => y(cell.mean('meanE2eMs')),
  )
  const lines = drawn.map(([arm, group], i) => {
    const sorted = group.toSorted((a, b) => a.unit.rateFactor - b.unit.rateFactor)
    const colour = COLOURS[i % COLOURS.length]
    return `<path d="${path(sorted) ?? ''}" fill="none" stroke="${colour}" stroke-width="2"/><text x="${WIDTH - 200}" y="${MARGIN.top + 18 * i}" fill="${colour}">${escapeXml(arm)}</text>`
  })
  const xTicks = [...new Set(loads)].map(
    (load) => `<text x="${x(load)}" y="${height - MARGIN.bottom + 16}" text-anchor="middle">${load}</text>`,
  )
  const yTicks = y
    .ticks()
    .filter((tick) => /^[125]/.test(tick.toExponential()))
    .map(
      (tick) =>
        `<path d="M70,${y(tick)}H${WIDTH - 210}" stroke="#d0d7de"/><text x="64" y="${y(tick)}" text-anchor="end" dominant-baseline="middle">${tick / 1000}</text>`,
    )
  return svg(height, `${scenario}: mean E2E in s against load (share of measured saturation)`, [...xTicks, ...yTicks, ...lines])
}

function svg(height: number, title: string, parts: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui,sans-serif" font-size="12"><rect width="100%" height="100%" fill="#ffffff"/><text x="16" y="24" font-size="14" font-weight="600">${escapeXml(title)}</text>${parts.join('')}</svg>\n`
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
