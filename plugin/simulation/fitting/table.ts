import { readFileSync } from 'node:fs'

/** One row of a CSV with a header; empty cells are ''. */
export type TableRow = Readonly<Record<string, string>>

/** Rows of a plain CSV file without quoted commas. */
export function readTable(file: string): TableRow[] {
  const [header = '', ...lines] = readFileSync(file, 'utf8').trim().split(/\r?\n/)
  const names = header.split(',')
  return lines.map((line) => {
    const cells = line.split(',')
    return Object.fromEntries(names.map((name, i) => [name, cells[i] ?? '']))
  })
}

/** The number in a cell; NaN where it is empty. */
export function numberAt(row: TableRow, name: string): number {
  const text = row[name]
  return text === undefined || text === '' ? Number.NaN : Number(text)
}

/**
 * Arrays of a NumPy archive that was stored without compression, by name. Read by the local file headers of the ZIP format (PKWARE appnote 4.3.7) and the
 * NumPy header (format version 1); integers and doubles of 8 bytes.
 */
export function readArchive(file: string): Map<string, Float64Array> {
  const bytes = readFileSync(file)
  const arrays = new Map<string, Float64Array>()
  for (let at = 0; at + 30 <= bytes.length && bytes.readUInt32LE(at) === 0x04034b50; ) {
    if (bytes.readUInt16LE(at + 8) !== 0) throw new Error(`${file}: compressed entries are not read`)
    const nameLength = bytes.readUInt16LE(at + 26)
    const extraLength = bytes.readUInt16LE(at + 28)
    const name = bytes.toString('utf8', at + 30, at + 30 + nameLength)
    const start = at + 30 + nameLength + extraLength
    const headerLength = bytes.readUInt16LE(start + 8)
    const header = bytes.toString('latin1', start + 10, start + 10 + headerLength)
    const count = Number(/'shape': \((\d+),/.exec(header)?.[1] ?? 1)
    const whole = header.includes('<i8')
    const data = start + 10 + headerLength
    arrays.set(
      name.replace(/\.npy$/, ''),
      Float64Array.from({ length: count }, (_, i) =>
        whole ? Number(bytes.readBigInt64LE(data + 8 * i)) : bytes.readDoubleLE(data + 8 * i),
      ),
    )
    at = data + 8 * count
  }
  return arrays
}
