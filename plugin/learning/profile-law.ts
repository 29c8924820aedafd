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

/** Coefficients that a start has at 0 may still turn out to be something: in shares of the step's floor. */
const ABSENT = {
  floorPerTokenMs: 1e-3,
  perCallMs: 2e-3,
  perContextTokenMs: 1e-5,
  perPromptTokenMs: 2e-3,
  perSquareMs: 5e-8,
  overheadMs: 0.05,
}

/** A start from a profile whose times are multiplied by `factor`. */
export function frameOf(profile: Profile, factor: number): { readonly frame: Frame; readonly start: Point } {
  const { dense, head, decode, prefill } = profile.law
  const [floor, steep = { baseMs: 0, perTokenMs: 0 }] = dense
  const base = (floor?.baseMs ?? 1) + head.baseMs + decode.baseMs
  const values = [
    base,
    floor?.perTokenMs ?? 0,
    steep.baseMs + head.baseMs + decode.baseMs,
    steep.perTokenMs,
    decode.perCallMs + head.perCallMs,
    decode.perContextTokenMs,
    prefill.perTokenMs,
    Math.max(prefill.perSquareMs, prefill.perCachedProductMs),
    0,
  ].map((value) => value * factor)
  const least = [
    0,
    ABSENT.floorPerTokenMs,
    0.2,
    1e-3,
    ABSENT.perCallMs,
    ABSENT.perContextTokenMs,
    ABSENT.perPromptTokenMs,
    ABSENT.perSquareMs,
    ABSENT.overheadMs,
  ]
  const scale = Float64Array.from(values, (value, k) => Math.max(value, (least[k] as number) * base * factor))
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
