import type { Profile } from '../simulation/profiles.ts'

/** The coefficients that are fitted, in their own units; see `StepLaw`. */
export const COEFFICIENTS = [
  'floorMs',
  'floorPerTokenMs',
  'denseMs',
  'densePerTokenMs',
  'perCallMs',
  'perContextTokenMs',
  'perPromptTokenMs',
  'perSquareMs',
  'overheadMs',
] as const
export type Coefficient = (typeof COEFFICIENTS)[number]

/** One point of the search: coefficients in units of `Frame.scale`, none below 0. */
export type Point = Float64Array<ArrayBuffer>

/** What a search starts from: what is not searched, and what each coefficient is measured in. */
export interface Frame {
  readonly base: Profile
  readonly scale: Float64Array
}

/** What a step of the log usually computes; each at least 1. */
export interface UsualStep {
  /** Calls that decode, and their contexts' tokens. */
  readonly decoding: number
  readonly contextTokens: number
  /** Prompt tokens, and the sum over their calls of prompt tokens squared, halved. */
  readonly promptTokens: number
  readonly promptSquares: number
}

/**
 * A coefficient is measured in what it is at the start, but at least in what adds this share of the step's floor to a usual step: then equal moves of two coefficients move
 * latencies about equally, one that the start has at 0 is found as fast as any other, and no derivative drowns in the jitter of scheduling.
 */
const UNIT_RATIO = 0.1
/** The way between router and instance: a unit of this share of the floor. */
const OVERHEAD_RATIO = 0.3
/** A law of one line that is given a second one: from this share of the floor, with this share of what a prompt token costs. */
const SECOND_RATIO = 0.5

/**
 * A start from a profile whose times are multiplied by `factor`. With 'two lines' a law of one line is given a second one, which the search could not find from nothing, since a
 * line below the other has no effect; 'as it is' keeps it at one.
 */
export function frameOf(
  profile: Profile,
  given: { readonly factor: number; readonly usual: UsualStep; readonly dense: 'as it is' | 'two lines' },
): { readonly frame: Frame; readonly start: Point } {
  const { factor, usual } = given
  const { dense, head, decode, prefill } = profile.law
  const [floor = { baseMs: 1, perTokenMs: 0 }, second] = dense
  const isSplit = given.dense === 'two lines' && !second
  const moved = isSplit ? SECOND_RATIO * prefill.perTokenMs : 0
  const split = { baseMs: SECOND_RATIO * floor.baseMs, perTokenMs: floor.perTokenMs + moved }
  const steep = second ?? (isSplit ? split : { baseMs: 0, perTokenMs: 0 })
  const rest = head.baseMs + decode.baseMs
  const values = [
    floor.baseMs + rest,
    floor.perTokenMs,
    steep.baseMs > 0 ? steep.baseMs + rest : 0,
    steep.perTokenMs,
    decode.perCallMs + head.perCallMs,
    decode.perContextTokenMs,
    prefill.perTokenMs - moved,
    Math.max(prefill.perSquareMs, prefill.perCachedProductMs),
    0,
  ].map((value) => value * factor)
  const unitMs = UNIT_RATIO * (values[0] as number)
  const tokens = usual.decoding + usual.promptTokens
  const least = [
    unitMs,
    unitMs / tokens,
    unitMs,
    unitMs / tokens,
    unitMs / usual.decoding,
    unitMs / usual.contextTokens,
    unitMs / usual.promptTokens,
    unitMs / usual.promptSquares,
    OVERHEAD_RATIO * (values[0] as number),
  ]
  const scale = Float64Array.from(values, (value, k) => Math.max(value, least[k] as number))
  return { frame: { base: profile, scale }, start: Float64Array.from(values, (value, k) => value / (scale[k] as number)) }
}

/** The profile at a point, and what the way to it and back takes, ms. */
export function profileAt({ base, scale }: Frame, point: Point): { readonly profile: Profile; readonly overheadMs: number } {
  const [floorMs, floorPerTokenMs, denseMs, densePerTokenMs, perCallMs, perContextTokenMs, perPromptTokenMs, perSquareMs, overheadMs] =
    Array.from(point, (value, k) => Math.max(0, value) * (scale[k] as number)) as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ]
  const profile: Profile = {
    ...base,
    law: {
      dense: [
        { baseMs: floorMs, perTokenMs: floorPerTokenMs },
        { baseMs: denseMs, perTokenMs: densePerTokenMs },
      ],
      head: { baseMs: 0, perCallMs: 0 },
      decode: { baseMs: 0, perCallMs, perContextTokenMs },
      prefill: { baseMs: 0, perTokenMs: perPromptTokenMs, perCachedProductMs: perSquareMs, perSquareMs },
    },
  }
  return { profile, overheadMs }
}
