declare const sealed: unique symbol

/**
 * How many tokens a call will really produce: known to the engine that produces them, and to a policy only after the call ended. The type
 * is opaque, so that no other code can use it as a number; at run time it is one.
 */
export interface TrueOutputTokens {
  readonly [sealed]: never
}

/** A policy that is shown the truth, to tell where the ceiling is. Never selectable in the router. */
export type OracleName = `oracle-${string}`

/** Seals the true output length of a call. */
export function sealOutput(tokens: number): TrueOutputTokens {
  return tokens as unknown as TrueOutputTokens
}

/** Opens it, for the engine or for an oracle: nobody else has a name that this takes. */
export function revealOutput(output: TrueOutputTokens, _to: 'engine' | OracleName): number {
  return output as unknown as number
}

/** The name is an oracle's. */
export function isOracle(name: string): name is OracleName {
  return name.startsWith('oracle-')
}
