/** Rows of a CSV text with quoted fields (RFC 4180), by the names of its first line. */
export function readCsv(csv: string): Record<string, string>[] {
  const [head = [], ...rows] = cellsOf(csv)
  return rows
    .filter((cells) => cells.length >= head.length)
    .map((cells) => Object.fromEntries(head.map((name, i) => [name, cells[i] ?? ''])))
}

function cellsOf(csv: string): string[][] {
  const rows: string[][] = [[]]
  for (const [, quoted, plain, end] of csv.matchAll(/(?:"((?:[^"]|"")*)"|([^,\r\n]*))(,|\r?\n|$)/g)) {
    rows.at(-1)?.push(quoted === undefined ? (plain ?? '') : quoted.replaceAll('""', '"'))
    if (end !== ',') rows.push([])
  }
  return rows
}
