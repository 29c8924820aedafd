import type { Rng } from '../rng.ts'
import { drawOutputTokens, drawPromptTokens, TASKS } from './tasks.ts'
import type { TraceCall } from './traces.ts'

/** Calls per second at a moment, given in ms from the start. */
export type RateOverTime = (atMs: number) => number

export interface BurstPlan {
  readonly baseCallsPerS: number
  readonly burstCallsPerS: number
  readonly everyMs: number
  readonly burstMs: number
}

/** A steady rate with a burst at the end of every period. */
export function burstingRate({ baseCallsPerS, burstCallsPerS, everyMs, burstMs }: BurstPlan): RateOverTime {
  return (atMs) => (atMs % everyMs >= everyMs - burstMs ? burstCallsPerS : baseCallsPerS)
}

/**
 * Poisson arrivals of a varying rate, in ms from the start, without end: thinning (Lewis and Shedler, 1979). `peakCallsPerS` bounds
 * the rate.
 */
export function* poissonArrivals(plan: {
  readonly rate: RateOverTime
  readonly peakCallsPerS: number
  readonly rng: Rng
}): Generator<number> {
  let atMs = 0
  for (;;) {
    atMs += (plan.rng.exponential() / plan.peakCallsPerS) * 1000
    if (plan.rng.next() * plan.peakCallsPerS < plan.rate(atMs)) yield atMs
  }
}

/** One call of the paper's mix (five tasks, equally likely, log-normal lengths), from one of the task's applications. */
export function drawCall(rng: Rng): Required<Omit<TraceCall, 'atMs' | 'hashIds'>> {
  const task = TASKS[rng.int(TASKS.length)] as (typeof TASKS)[number]
  return {
    task: task.name,
    application: task.applications[rng.int(task.applications.length)] as string,
    promptTokens: drawPromptTokens(task, rng),
    outputTokens: drawOutputTokens(task.name, rng),
  }
}

/** The paper's mix as an endless trace; arrivals and contents are drawn from dice of their own. */
export function* mixTrace(plan: { readonly rate: RateOverTime; readonly peakCallsPerS: number; readonly rng: Rng }): Generator<TraceCall> {
  const contents = plan.rng.stream('contents')
  for (const atMs of poissonArrivals({ ...plan, rng: plan.rng.stream('arrivals') })) yield { atMs, ...drawCall(contents) }
}
