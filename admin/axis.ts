/** What drawings share: places rounded to a tenth of a pixel, and labels of ticks that stay within the drawing. */

/** A tick of the axis below: `anchor` is its text's, as SVG has it. */
export interface XTick {
  readonly x: number
  readonly text: string
  readonly anchor: 'start' | 'middle' | 'end'
}

/** A tick of the axis at the side; its text stands beside it. */
export interface YTick {
  readonly y: number
  readonly textY: number
  readonly text: string
}

/** Labels nearer to an edge than this would stand beyond it: they are set inwards. Half a label of five characters. */
const EDGE_PX = 14
/** From a text's middle to its base line. */
const BASELINE_PX = 4

/** A place in a drawing, px. */
export const round = (value: number): number => Math.round(value * 10) / 10

/** The tick at `x` px between the edges of what is drawn. */
export function xTick(given: { readonly x: number; readonly text: string; readonly left: number; readonly right: number }): XTick {
  const x = round(given.x)
  return { x, text: given.text, anchor: x < given.left + EDGE_PX ? 'start' : x > given.right - EDGE_PX ? 'end' : 'middle' }
}

/** The tick at `y` px. */
export const yTick = ({ y, text }: { readonly y: number; readonly text: string }): YTick => ({
  y: round(y),
  textY: round(y + BASELINE_PX),
  text,
})
