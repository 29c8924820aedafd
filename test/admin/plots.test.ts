import { expect, test } from 'vitest'
import { createXyPlot } from '../../admin/plots.ts'

const plot = (points: { readonly x: number; readonly y: number }[], diagonal = false) =>
  createXyPlot({ title: 'a curve', xName: 'step', yName: 'loss', series: [{ name: 'loss', mark: 's1', points }], diagonal })

test.each([
  ['one point', [{ x: 1, y: -0.78 }]],
  ['one point at nought', [{ x: 0, y: 0 }]],
  ['points of one height', [1, 2, 3].map((x) => ({ x, y: 0.4 }))],
  ['points that differ little', [1, 2, 3].map((x) => ({ x, y: -0.8 + x / 5_000 }))],
  ['many points', [1, 2, 3].map((x) => ({ x, y: x * x }))],
])('%s: labels of an axis differ from each other, and what is drawn lies between the edges', (_, points) => {
  for (const { xTicks, yTicks, dots, left, right, bottom } of plot(points).drawings) {
    for (const texts of [xTicks, yTicks].map((ticks) => ticks.map(({ text }) => text))) {
      expect(texts.length).toBeGreaterThan(1)
      expect(new Set(texts).size, texts.join(' ')).toBe(texts.length)
      expect(texts.every((text) => text.length <= 7)).toBe(true)
    }
    expect(dots).toHaveLength(points.length)
    for (const { x, y } of dots) expect(x >= left && x <= right && y >= 0 && y <= bottom).toBe(true)
  }
})

test('a diagonal spans what both axes show', () => {
  for (const { diagonal } of plot([{ x: 0.2, y: 0.9 }], true).drawings) expect(diagonal?.x1).toBeLessThan(diagonal?.x2 ?? 0)
})
