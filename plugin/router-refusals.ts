import { PlacementError, type PlaceOptions } from './router.ts'

/** Why nothing was placed. */

/** When no instance may take a call: half-open trials come at this pace. */
const NO_INSTANCE_RETRY_MS = 1_000

/** No pool serves the model asked for; names some that are served. */
export function unknownModel(model: string, known: readonly string[]): PlacementError {
  return new PlacementError(
    'unknown model',
    `The model ${JSON.stringify(model)} is not served here; there is ${known.slice(0, 20).join(', ')}.`,
  )
}

/** No instance of the pool, or of the subset asked for, may take a call now. */
export function noInstance(pool: string, options: Pick<PlaceOptions, 'subset'>): PlacementError {
  if (options.subset) return new PlacementError('subset empty', `No instance of ${pool} in the subset asked for may take a call.`)
  return new PlacementError('no instance', `No instance of ${pool} may take a call now.`, NO_INSTANCE_RETRY_MS)
}
