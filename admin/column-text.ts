import type { Column } from '../plugin/log/read/columns.ts'
import { formatCount, formatDuration, formatPercentWhole, known } from './format.ts'

/** A logged feature in its unit; undefined where it was unknown. */
export function formatColumn(column: Column, value: number): string | undefined {
  if (known(value) === undefined) return undefined
  switch (column.unit) {
    case 'ratio':
      return formatPercentWhole(value)
    case 'ms':
      return formatDuration(value)
    case 'flag':
      return value === 0 ? 'no' : 'yes'
    case 'factor':
      return String(Number(value.toPrecision(3)))
    default:
      return formatCount(Math.round(value))
  }
}
