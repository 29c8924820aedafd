import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Rng } from '../rng.ts'
import type { LengthRow } from './length-rows.ts'
import { OPEN_SETS, type OpenSet } from './open-sets.ts'

/** At most so many rows of a set, drawn by chance: one large set would drown the others. */
export const ROWS_PER_SET_MAX = 1_000

/** The open sets that stand in a folder. */
export function openSetsIn(folder: string): readonly OpenSet[] {
  return OPEN_SETS.filter(({ name }) => existsSync(join(folder, name)))
}

/** Their rows: no prompt twice, at most ROWS_PER_SET_MAX of each set. */
export async function readOpenRows(folder: string, rng: Rng): Promise<LengthRow[]> {
  const { encode } = await import('gpt-tokenizer/encoding/cl100k_base')
  const plain = { disallowedSpecial: new Set<string>() }
  return openSetsIn(folder).flatMap((set) => {
    const rows = set.read(join(folder, set.name), (text) => encode(text, plain).length)
    const distinct = [...new Map(rows.toReversed().map((row) => [row.prompt, row])).values()].reverse()
    const dice = rng.stream(set.name)
    return distinct
      .map((row) => ({ row, lot: dice.next() }))
      .sort((a, b) => a.lot - b.lot)
      .slice(0, ROWS_PER_SET_MAX)
      .map(({ row }) => row)
  })
}
