import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { PARAMETERS } from '../neural/graph.ts'
import { readConstant } from '../neural/onnx-constant.ts'
import { checkModel, type LearnedModel, ModelRefused } from '../placement/learned-model.ts'
import { encodePolicy } from './policy-net.ts'

/** A policy model on disk: the ONNX file and its card. */
export const POLICY_MODEL_FILE = 'model.onnx'
export const POLICY_CARD_FILE = 'card.json'

/** The folder of the policy that ships with this version. */
export const BASE_POLICY_FOLDER = fileURLToPath(new URL('../../models/policy-base', import.meta.url))

/** A measured figure with its 95 % interval. */
export type Measured = readonly [value: number, low: number, high: number]

/** How a policy came to be and what it is worth: written beside it as JSON. */
export interface PolicyCard {
  readonly kind: 'policy'
  readonly version: string
  /** Of the logged columns and all that is derived from them; a model for other features is refused by name. */
  readonly featureHash: string
  /** Makes the same file on the same machine. */
  readonly command: string
  readonly seed: number
  /** Version of the model that the search went on from; the heuristic without. */
  readonly from?: string
  readonly generations: number
  readonly plan: Readonly<Record<string, number>>
  readonly objective: Readonly<Record<string, number | string>>
  /** What it was trained on, in a sentence, and the traces that were there. */
  readonly domain: { readonly kind: string; readonly traces: readonly string[] }
  readonly trainedMinutes?: number
  /** Revision of the code it was trained with, where later code would train another. */
  readonly revision?: string
  /** On tasks that were not trained on: ln of the mean E2E over least-request's, tails priced in. */
  readonly measured: { readonly how: string; readonly values: Readonly<Record<string, Measured>> }
}

const cardSchema = z.looseObject({ kind: z.literal('policy'), version: z.string(), featureHash: z.string() })

/** Reads the model. Throws ModelRefused where the folder holds none, it is damaged, or it was made for other features. */
export function readPolicyModel(folder: string): LearnedModel {
  const read = (file: string): Buffer => {
    try {
      return readFileSync(join(folder, file))
    } catch (cause) {
      throw new ModelRefused(`there is no policy model in ${folder}: ${file} cannot be read`, { cause })
    }
  }
  const card = cardSchema.safeParse(parsed(read(POLICY_CARD_FILE).toString('utf8')))
  if (!card.success) throw new ModelRefused(`${join(folder, POLICY_CARD_FILE)} is no card of a policy model`, { cause: card.error })
  const bytes = read(POLICY_MODEL_FILE)
  const { version, featureHash } = card.data
  let parameters: Float32Array
  try {
    parameters = readConstant(bytes, PARAMETERS)
  } catch (cause) {
    throw new ModelRefused(`policy model ${version} is damaged: ${cause instanceof Error ? cause.message : cause}`, { cause })
  }
  return checkModel({ version, featureHash, parameters })
}

/** Writes model and card; the folder is made. */
export function writePolicyModel(folder: string, model: LearnedModel, card: PolicyCard): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, POLICY_MODEL_FILE), encodePolicy(model.parameters))
  writeFileSync(join(folder, POLICY_CARD_FILE), `${JSON.stringify(card, null, 2)}\n`)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Said by the schema: it is no card.
    return undefined
  }
}
