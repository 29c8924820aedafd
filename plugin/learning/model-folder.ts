import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { LengthModel } from '../prediction/length-model.ts'
import { decodeLengthModel } from '../prediction/model-file.ts'
import { createTextReader, type TextReader } from '../prediction/text/reading.ts'

/** A length model on disk: a folder with the token table it reads texts by, the model, and its card. */
export const TABLE_FILES = ['tokens.txt', 'embeddings.bin'] as const
export const MODEL_FILE = 'model.json'
export const CARD_FILE = 'card.json'

/** The folder of the model that ships with this version. */
export const BASE_FOLDER = fileURLToPath(new URL('../../models/length-base', import.meta.url))

/** Whether the folder holds a token table. */
export function hasTable(folder: string): boolean {
  return TABLE_FILES.every((file) => existsSync(join(folder, file)))
}

/** The reader over the folder's token table. Throws where it is not there or damaged. */
export function readTextReader(folder: string): TextReader {
  const tokens = readFileSync(join(folder, 'tokens.txt'), 'utf8').split('\n').slice(0, -1)
  const bytes = readFileSync(join(folder, 'embeddings.bin'))
  return createTextReader({ tokens, embeddings: new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length) })
}

/** The folder's model. Throws where there is none, it is damaged, or it reads other features than this version. */
export function readLengthModel(folder: string): LengthModel {
  return decodeLengthModel(readFileSync(join(folder, MODEL_FILE), 'utf8'))
}

/** SHA-256 of a file of the folder, hex. */
export function checksumOf(folder: string, file: string): string {
  return createHash('sha256')
    .update(readFileSync(join(folder, file)))
    .digest('hex')
}
