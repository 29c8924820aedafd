import { KV_BLOCK_TOKENS, PROFILES, type Profile } from '../simulation/profiles.ts'
import { playEngine } from './play-engine.ts'
import { type Fit, fitPoint, ROUNDS } from './profile-fit.ts'
import { frameOf, type UsualStep } from './profile-law.ts'
import { costAt, spreadsAt } from './profile-residuals.ts'
import { type InstanceLog, partOf } from './profile-rows.ts'

/** What decides which calls run together, as far as the log tells. */
export interface Limits {
  readonly kvBlocks: number
  readonly kvFrom: 'told' | 'scrapes' | 'most seen' | 'prior'
  readonly seats: number
  readonly seatsFrom: 'scrapes' | 'most seen' | 'prior'
}

/** What an instance's metrics said at a moment; NaN unknown. */
export interface ProfileScrape {
  readonly instance: string
  readonly takenUnixMs: number
  readonly waiting: number
  readonly running: number
  readonly kvUsageRatio: number
}

/** Calls that decide between the shipped profiles. */
const RANKED_CALLS = 2_500
const FIRST_ROUNDS = 6
/** A first fit that costs this much more than the best one is not followed: a few rounds on a few calls do not yet tell a law of one line from one of two, nor order from order. */
const FOLLOW_RATIO = 12
/** Fits that are followed on all calls, and how much more than the best one they may cost. */
const FINISHED = 2
const FINISH_RATIO = 2
/** Tokens a step may compute, as engines are configured. */
const BUDGETS = { v1: [512, 1024, 2048, 4096, 8192], v0: [2048, 4096, 8192, 16_384] } as const
/** Another setting has to explain this much more to be believed. */
const BETTER = 0.7

/** A setting that changes the cost by less than this hardly ever bound a step. */
const UNBOUND = 0.02

/** The best fit from several shipped profiles as starts: first on a few calls, then, of what is not far behind, on all of them. */
export function fitFromShipped(logs: readonly InstanceLog[], limits: Limits): Fit {
  const few = logs.map((log) => partOf(log, 0, RANKED_CALLS))
  const usual = usualStep(logs)
  const ranked = [...PROFILES.values()]
    .flatMap((profile) => {
      const shaped = withLimits(profile, limits)
      const factor = paceFactor(shaped, few)
      const shapes = profile.law.dense.length > 1 ? (['two lines'] as const) : (['as it is', 'two lines'] as const)
      return shapes.map((dense) => {
        const { frame, start } = frameOf(shaped, { factor, usual, dense })
        return { frame, start, dense, cost: costAt(frame, start, few) }
      })
    })
    .sort((a, b) => a.cost - b.cost)
  // Which order an engine keeps, and whether its law has one line or two, shows in the fit only: of each the best start is fitted, however far off it is.
  const starts = (['v0', 'v1'] as const).flatMap((order) =>
    (['as it is', 'two lines'] as const).flatMap(
      (dense) => ranked.find((one) => one.frame.base.order === order && one.dense === dense) ?? [],
    ),
  )
  const near = starts.map(({ frame, start }) => fitPoint(frame, start, few, { rounds: FIRST_ROUNDS }))
  const nearer = followed([...near, ...near.filter(hasTwoLines).map(oneLine)], few, {
    within: FOLLOW_RATIO,
    rounds: FIRST_ROUNDS,
  })
  const finished = bestFirst(nearer).slice(0, FINISHED)
  const best = bestFirst(followed(finished, logs, { within: FINISH_RATIO, rounds: ROUNDS }))[0] as Fit
  // What chance does is known better near the goal, and on all calls a second line may turn out to be none.
  const last = hasTwoLines(best) ? [best, oneLine(best)] : [best]
  return withBestBudget(bestFirst(followed(last, logs, { within: 1, rounds: FIRST_ROUNDS }))[0] as Fit, logs)
}

/** Fits on what is not far behind the best, every residual in units of what chance does to it. */
function followed(
  fits: readonly Fit[],
  logs: readonly InstanceLog[],
  { within, rounds }: { readonly within: number; readonly rounds: number },
): Fit[] {
  const best = bestFirst(fits)[0] as Fit
  const spreads = spreadsAt(best.frame, best.point, logs)
  const kept = fits.filter(({ cost }) => cost <= within * best.cost)
  return kept.map(({ frame, point }) => fitPoint(frame, point, logs, { rounds, spreads }))
}

const bestFirst = (fits: readonly Fit[]): Fit[] => fits.toSorted((a, b) => a.cost - b.cost)

const hasTwoLines = ({ point }: Fit): boolean => (point[3] as number) > 0

/** A fit with its two lines made one, whose prompt tokens cost what the steeper one had them cost: a way out of a valley that the search does not leave. Its cost is the first one's. */
function oneLine(fit: Fit): Fit {
  const { frame, point } = fit
  const { scale } = frame
  const perPromptTokenMs = (point[6] as number) * (scale[6] as number) + (point[3] as number) * (scale[3] as number)
  const flat = point.slice()
  flat[2] = 0
  flat[3] = 0
  flat[6] = perPromptTokenMs / (scale[6] as number)
  return { ...fit, point: flat }
}

function withBestBudget(fit: Fit, logs: readonly InstanceLog[]): Fit {
  const spreads = spreadsAt(fit.frame, fit.point, logs)
  let best = fit
  let least = costAt(fit.frame, fit.point, logs, spreads)
  for (const budgetTokens of BUDGETS[fit.frame.base.order]) {
    if (budgetTokens === fit.frame.base.budgetTokens) continue
    const frame = { ...fit.frame, base: { ...fit.frame.base, budgetTokens } }
    const cost = costAt(frame, fit.point, logs, spreads)
    if (cost > 1.5 * least || Math.abs(cost / least - 1) < UNBOUND) continue
    const other = fitPoint(frame, fit.point, logs, { rounds: FIRST_ROUNDS, spreads })
    if (other.cost >= BETTER * least) continue
    best = other
    least = other.cost
  }
  return best
}

/** The profile with the limits in it. */
export function withLimits(profile: Profile, { kvBlocks, seats }: Limits): Profile {
  return { ...profile, kvBlocks, seats }
}

/** What a step of the logs usually computes: the calls that decoded at once on average while any was there, and prompt tokens as the lengths of prompts and answers stand to each other. */
function usualStep(logs: readonly InstanceLog[]): UsualStep {
  let [calls, decodingMs, busyMs, prompts, squares, outputs] = [0, 0, 0, 0, 0, 0]
  for (const { calls: own, ttftMs, e2eMs, judged } of logs) {
    let freeMs = Number.NEGATIVE_INFINITY
    for (let i = 0; i < judged.length; i++) {
      const [atMs, prompt] = [own.dispatchedMs[i] as number, own.promptTokens[i] as number]
      if (judged[i] === 0 || !((ttftMs[i] as number) <= (e2eMs[i] as number))) continue
      const endMs = atMs + (e2eMs[i] as number)
      calls++
      decodingMs += (e2eMs[i] as number) - (ttftMs[i] as number)
      busyMs += Math.max(0, endMs - Math.max(atMs, freeMs))
      freeMs = Math.max(freeMs, endMs)
      prompts += prompt
      squares += prompt ** 2 / 2
      outputs += own.outputTokens[i] as number
    }
  }
  const decoding = Math.max(1, decodingMs / Math.max(1, busyMs))
  const perToken = decoding / Math.max(1, outputs)
  const context = (prompts + outputs / 2) / Math.max(1, calls)
  return {
    decoding,
    contextTokens: Math.max(1, decoding * context),
    promptTokens: Math.max(1, perToken * prompts),
    promptSquares: Math.max(1, perToken * squares),
  }
}

/** Logged over played median time per token. */
function paceFactor(profile: Profile, logs: readonly InstanceLog[]): number {
  const ratios: number[] = []
  for (const log of logs) {
    const times = playEngine(profile, log.calls)
    for (let i = 0; i < log.judged.length; i++) {
      if (log.judged[i] === 0 || (log.calls.outputTokens[i] as number) < 3) continue
      const played = (times.e2eMs[i] as number) - (times.ttftMs[i] as number)
      const logged = (log.e2eMs[i] as number) - (log.ttftMs[i] as number)
      if (played > 0 && logged > 0) ratios.push(logged / played)
    }
  }
  ratios.sort((a, b) => a - b)
  return ratios[Math.floor(ratios.length / 2)] ?? 1
}

/**
 * Seats and memory of an instance. Told by its metrics where they are there; else from the most that was seen to run at once while others waited: an engine that
 * could have run more would have.
 */
export function limitsOf(given: {
  readonly log: InstanceLog
  readonly toldKvTokens: number
  readonly scrapes: readonly ProfileScrape[]
  readonly prior: Profile
}): Limits {
  const { log, toldKvTokens, scrapes, prior } = given
  const seen = mostSeen(log)
  const full = scrapes.filter((one) => one.waiting > 0 && one.running > 0)
  const kv =
    toldKvTokens > 0
      ? ({ kvBlocks: Math.floor(toldKvTokens / KV_BLOCK_TOKENS), kvFrom: 'told' } as const)
      : seen.isLimited && seen.tokens > 0 && seen.seatsSpread > 0.15
        ? ({ kvBlocks: Math.ceil(seen.tokens / KV_BLOCK_TOKENS), kvFrom: 'most seen' } as const)
        : ({ kvBlocks: Math.max(prior.kvBlocks, Math.ceil((1.2 * seen.tokens) / KV_BLOCK_TOKENS)), kvFrom: 'prior' } as const)
  const mostRunning = full.reduce((most, one) => Math.max(most, one.running), 0)
  const atMost = full.filter((one) => one.running >= mostRunning).length
  // At the seats' limit the count stands still at it; at the memory's it wanders.
  if (full.length >= 20 && atMost > 0.2 * full.length) return { ...kv, seats: mostRunning, seatsFrom: 'scrapes' }
  const isFull = seen.tokens > FULL_RATIO * kv.kvBlocks * KV_BLOCK_TOKENS
  if (full.length < 20 && seen.isLimited && !isFull && seen.seatsSpread < SEATS_SPREAD)
    return { ...kv, seats: seen.running, seatsFrom: 'most seen' }
  return { ...kv, seats: Math.max(prior.seats, seen.running), seatsFrom: 'prior' }
}

/** Memory this full is what holds calls back; emptier, it must be the seats. */
const FULL_RATIO = 0.75
/** The calls that run while others wait may differ by this share where seats are the limit: some sit in one while their prompt is computed. */
const SEATS_SPREAD = 0.25

interface MostSeen {
  /** Calls between their first token and their end at once, and tokens of their contexts. */
  readonly running: number
  readonly tokens: number
  /** Calls waited long enough that a limit must have held them back. */
  readonly isLimited: boolean
  /** Spread of the running calls over moments at which others waited, relative. */
  readonly seatsSpread: number
}

function mostSeen({ calls, ttftMs, e2eMs }: InstanceLog): MostSeen {
  interface Event {
    readonly atMs: number
    readonly running: number
    readonly waiting: number
    readonly tokens: number
  }
  const events: Event[] = []
  for (let i = 0; i < ttftMs.length; i++) {
    const atMs = calls.dispatchedMs[i] as number
    const firstMs = atMs + (ttftMs[i] as number)
    const endMs = atMs + (e2eMs[i] as number)
    const context = (calls.promptTokens[i] as number) + (calls.outputTokens[i] as number) / 2
    if (!(endMs >= firstMs)) continue
    events.push({ atMs, running: 0, waiting: 1, tokens: 0 }, { atMs: firstMs, running: 1, waiting: -1, tokens: context })
    events.push({ atMs: endMs, running: -1, waiting: 0, tokens: -context })
  }
  events.sort((a, b) => a.atMs - b.atMs)
  const [running, tokens]: [number[], number[]] = [[], []]
  let [nowRunning, nowWaiting, nowTokens] = [0, 0, 0]
  for (const event of events) {
    nowRunning += event.running
    nowWaiting += event.waiting
    nowTokens += event.tokens
    if (nowWaiting < 4) continue
    running.push(nowRunning)
    tokens.push(nowTokens)
  }
  running.sort((a, b) => a - b)
  tokens.sort((a, b) => a - b)
  const at = (sorted: readonly number[], share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? 0
  const [low, high] = [at(running, 0.25), at(running, 0.999)]
  return {
    running: high,
    tokens: at(tokens, 0.99),
    isLimited: running.length > 0.05 * events.length,
    seatsSpread: high > 0 ? (high - low) / high : 1,
  }
}
