import type { Rng } from '../rng.ts'
import { drawLogNormal, drawPaper, drawWide, type Mix } from '../simulation/scenario/mixes.ts'

/** One run of the twin that a candidate model is judged on; plain JSON, so that a worker can be told of it. */
export interface TaskPlan {
  /** What it is like, in words that name a kind of fleet and traffic. */
  readonly family: string
  readonly seed: number
  readonly machines: readonly { readonly profile: string; readonly count: number; readonly speed: number }[]
  readonly mix: string
  /** Share of the fleet's measured capacity for the mix; or calls per second as they are, where `callsPerS` is given. */
  readonly load: number
  readonly callsPerS?: number
  readonly calls: number
  readonly sigma: number
  /** Coefficient of variation of the gaps; Poisson without. */
  readonly arrivalCv?: number
  readonly systemTokens?: number
  readonly routers: number
  readonly scrapeMs: number
  /** Every instance's profile is believed to be this many times slower than it is. */
  readonly believedFactor?: number
  /** One instance dies for a while, another slows. */
  readonly fails?: true
  /** Calls in overload: tails are held against round robin's there. */
  readonly over: boolean
  /** Share of round robin's mean E2E that is to be saved; beyond it tails and other tasks come first. */
  readonly goal?: number
  readonly weight: number
}

/** Prefill-bound: lengths as in the Azure code trace. */
const drawCode: Mix = drawLogNormal('generic', { prompt: [2048, 1850, 7_000], output: [28, 34, 1_000] })
/** Lengths as in the Azure conversation trace. */
const drawChat: Mix = drawLogNormal('generic', { prompt: [1155, 1100, 7_000], output: [211, 160, 1_000] })

/** Generated traffic by name; every other mix is a trace. */
export const MIXES: Readonly<Record<string, Mix>> = { paper: drawPaper, wide: drawWide, code: drawCode, chat: drawChat }

/** Seeds of training begin here, far from those of any benchmark. */
const FIRST_SEED = 1_000_000

/** A kind of fleet and traffic. */
export interface Family {
  readonly family: string
  readonly machines: TaskPlan['machines']
  readonly mix: string
  readonly callsPerS?: number
  readonly load?: number
  readonly calls: number
  readonly over?: true
  readonly arrivalCv?: number
  readonly fails?: true
  /** Comes up so many times as often as others; 1 without. Chosen by what a policy trained evenly fell short of. */
  readonly times?: number
  /** As in a plan. Chosen a little above what the benchmark asks. */
  readonly goal?: number
}

const alone = (profile: string, count: number): TaskPlan['machines'] => [{ profile, count, speed: 1 }]

/**
 * The kinds that the named scenarios belong to; rates are shaken by 3 %, contents never those of a benchmark: traces give their first halves, and the two
 * kinds in overload are generated, since the judged ones play the traces' first calls.
 */
export const FAMILIES: readonly Family[] = [
  { family: 'paper 20', machines: alone('v100-paper', 4), mix: 'paper', callsPerS: 20, calls: 2_000, over: true, goal: 0.55 },
  { family: 'wide 20', machines: alone('v100-32g', 4), mix: 'wide', callsPerS: 20, calls: 1_500, times: 2, goal: 0.175 },
  { family: 'wide 26', machines: alone('v100-32g', 4), mix: 'wide', callsPerS: 26, calls: 1_500, times: 2, goal: 0.21 },
  { family: 'wide 40', machines: alone('v100-32g', 4), mix: 'wide', callsPerS: 40, calls: 2_000, over: true, goal: 0.24 },
  { family: 'chat over', machines: alone('a100-8b', 2), mix: 'chat', load: 2, calls: 2_400, over: true, times: 2 },
  { family: 'code over', machines: alone('a100-8b', 2), mix: 'code', load: 1.7, calls: 2_000, over: true, times: 2 },
  { family: 'paper 14', machines: alone('v100-paper', 4), mix: 'paper', callsPerS: 14, calls: 2_000, over: true, goal: 0.23 },
  {
    family: 'mixed 60',
    machines: [
      { profile: 'v100-32g', count: 2, speed: 1 },
      { profile: 'a100-7b', count: 2, speed: 3 },
    ],
    mix: 'wide',
    callsPerS: 60,
    calls: 1_500,
    goal: 0.68,
  },
  { family: 'azure-code', machines: alone('a100-8b', 4), mix: 'azure-code', load: 0.85, calls: 1_500, goal: 0.24 },
  { family: 'azure-chat', machines: alone('a100-8b', 4), mix: 'azure-chat', load: 0.85, calls: 1_500, times: 2, goal: 0.1 },
  { family: 'a100 110', machines: alone('a100-7b', 4), mix: 'wide', callsPerS: 110, calls: 1_500, goal: 0.11 },
  { family: 'failures', machines: alone('a100-7b', 4), mix: 'wide', callsPerS: 90, calls: 3_600, fails: true, times: 2, goal: 0.35 },
  { family: 'wide 40 on 8', machines: alone('v100-32g', 8), mix: 'wide', callsPerS: 40, calls: 2_000, goal: 0.185 },
  { family: 'wide 12', machines: alone('v100-32g', 4), mix: 'wide', callsPerS: 12, calls: 1_000, goal: 0.09 },
  { family: 'paper 40 on 8', machines: alone('v100-paper', 8), mix: 'paper', callsPerS: 40, calls: 2_000, over: true, goal: 0.345 },
  { family: 'paper 11', machines: alone('v100-paper', 4), mix: 'paper', callsPerS: 11, calls: 1_500, goal: 0.06 },
  { family: 'bursty', machines: alone('a100-7b', 4), mix: 'wide', load: 0.7, arrivalCv: 5, calls: 1_500 },
  { family: 'mooncake', machines: alone('a100-8b', 4), mix: 'mooncake', load: 0.85, calls: 500 },
]

const WILD_PROFILES = [
  'v100-paper',
  'v100-32g',
  'a100-7b',
  'a100-8b',
  'rtx4090-llama-3.1-8b',
  'h100-llama-2-7b',
  'a100-llama-3-8b',
] as const
const WILD_MIXES = ['paper', 'wide', 'code', 'chat'] as const
/** Of the tasks of a generation, this share is drawn from anywhere. */
export const WILD_RATIO = 0.3

const among = <T>(values: readonly T[], rng: Rng): T => values[rng.int(values.length)] as T
const between = (low: number, high: number, rng: Rng): number => low + (high - low) * rng.next()

function nextSeed(rng: Rng): number {
  return FIRST_SEED + rng.int(1_000_000_000)
}

/** A task of this kind. */
export function familyPlan(given: Family, rng: Rng): TaskPlan {
  const { family, machines, mix, calls, arrivalCv, goal } = given
  const shaken = between(0.97, 1.03, rng)
  return {
    family,
    seed: nextSeed(rng),
    machines,
    mix,
    load: (given.load ?? 1) * shaken,
    ...(given.callsPerS === undefined ? {} : { callsPerS: given.callsPerS * shaken }),
    calls,
    sigma: among([0.3, 0.5, 0.5, 0.5, 0.7], rng),
    ...(arrivalCv === undefined ? {} : { arrivalCv }),
    routers: 1,
    scrapeMs: 50,
    ...(given.fails ? { fails: given.fails } : {}),
    ...(goal === undefined ? {} : { goal }),
    over: given.over ?? false,
    weight: 1,
  }
}

/** The families in the order they come up: those that come up twice once more behind all. */
export function inRotation(families: readonly Family[]): readonly Family[] {
  const most = Math.max(1, ...families.map(({ times = 1 }) => times))
  return Array.from({ length: most }, (_, lap) => families.filter(({ times = 1 }) => times > lap)).flat()
}

/** Any fleet of 1 to 16, any mix and load, and one thing in three that goes wrong. */
export function wildPlan(rng: Rng): TaskPlan {
  const size = among([1, 2, 3, 4, 4, 6, 8, 12, 16], rng)
  const kinds = size > 1 && rng.next() < 0.5 ? 2 : 1
  const first = kinds === 2 ? 1 + rng.int(size - 1) : size
  const machines = [{ profile: among(WILD_PROFILES, rng), count: first, speed: 1 }]
  if (kinds === 2) machines.push({ profile: among(WILD_PROFILES, rng), count: size - first, speed: 1 })
  const load = among([0.3, 0.5, 0.7, 0.85, 0.95, 1.2, 1.75], rng)
  const trouble = rng.next()
  return {
    family: 'anywhere',
    seed: nextSeed(rng),
    machines,
    mix: among(WILD_MIXES, rng),
    load,
    calls: 600 + 60 * size,
    sigma: among([0.2, 0.5, 1, 2], rng),
    ...(rng.next() < 0.25 ? { arrivalCv: between(1.5, 5, rng) } : {}),
    ...(rng.next() < 0.4 ? { systemTokens: among([128, 512, 1_024], rng) } : {}),
    routers: trouble < 0.15 ? among([2, 4], rng) : 1,
    scrapeMs: trouble > 0.8 ? among([1_000, 10_000], rng) : 50,
    ...(trouble > 0.3 && trouble < 0.45 ? { believedFactor: among([0.7, 1.3], rng) } : {}),
    ...(trouble > 0.5 && trouble < 0.6 && size > 2 ? { fails: true as const } : {}),
    over: load > 1,
    weight: 0.6,
  }
}

/** Names a fleet's own calls among the mixes. */
export const OWN_MIX = 'own'

/** A task on a fleet's own calls. */
export function ownPlan(rng: Rng): TaskPlan {
  const load = among([0.8, 1, 1, 1.2], rng)
  return {
    family: 'own',
    seed: nextSeed(rng),
    machines: [],
    mix: OWN_MIX,
    load,
    calls: 2_000,
    sigma: among([0.4, 0.6], rng),
    routers: 1,
    scrapeMs: 250,
    over: false,
    weight: 1,
  }
}
