/** One line of CSV (RFC 4180), with its line end. */
export function csvLine(values: readonly (string | number | null | undefined)[]): string {
  return `${values.map(csvCell).join(',')}\r\n`
}

/** A text that a spreadsheet would run as a formula gets an apostrophe in front: names and errors come from outside. */
function csvCell(value: string | number | null | undefined): string {
  if (value === null || value === undefined) return ''
  if (typeof value === 'number') return decimal(value)
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/**
 * A number with at most three decimals: of milliseconds that is a microsecond. Not by `String`, whose cache keeps each of an export's millions of texts until
 * another takes its place, so that they outlive young collections and fill the old heap.
 */
function decimal(value: number): string {
  if (Number.isInteger(value)) return value.toFixed(0)
  return Number.isFinite(value) ? value.toFixed(3).replace(/\.?0+$/, '') : String(value)
}
