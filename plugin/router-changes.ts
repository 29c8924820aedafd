import type { Clock } from './clock.ts'
import type { InstanceView } from './fleet/instance.ts'
import { type EngineShape, scaleLaw, shapeOfSpeed } from './impact/engine-shape.ts'
import type { InstanceChange } from './log/control/instance-changes.ts'
import type { Finding } from './log/rows.ts'
import { CHANGE_LEAST, ChangeWatch } from './outcome/change.ts'
import type { Outcome } from './outcome/outcome.ts'
import type { LiveTicket } from './router-ticket.ts'

export interface InstanceChangesParts {
  /** As stored: noticed by an earlier start. */
  readonly known: readonly InstanceChange[]
  readonly report: (finding: Finding) => void
  readonly count: (what: string) => void
  readonly clock: Pick<Clock, 'nowUnixMs'>
}

/** What holds of an instance, and its shape as it is since then. */
interface Holding {
  readonly factor: number
  readonly sinceUnixMs: number
  readonly scaled: Map<EngineShape, EngineShape>
}

/** Ends of calls that are remembered to tell when a change began: more than any notice takes. */
const ENDS_KEPT = 1_024

interface Watched {
  /** Of answers whose tokens were seen coming, and of those that came whole: their paces are of different kinds. */
  readonly streamed: ChangeWatch
  readonly whole: ChangeWatch
  /** When the newest watched calls ended, a ring. */
  readonly endsUnixMs: Float64Array
  ends: number
}

/**
 * Instances that became slower or faster than they were (see `ChangeWatch`). Until a new profile of such an instance serves, what is believed of it is its profile, or the shape of its
 * configured speed, with every duration multiplied by what was observed: nearer to what it is now than a prior that knows nothing of the change, and far nearer than
 * the profile as it was.
 */
export class InstanceChanges {
  readonly #parts: InstanceChangesParts
  readonly #watched = new WeakMap<InstanceView, Watched>()
  readonly #holding = new Map<string, Holding>()

  constructor(parts: InstanceChangesParts) {
    this.#parts = parts
    for (const { pool, instance, factor, sinceUnixMs } of parts.known)
      this.#holding.set(keyOf(pool, instance), { factor, sinceUnixMs, scaled: new Map() })
  }

  /** Takes in how a call ended. Only answers that one attempt gave tell an instance's pace. */
  settled(ticket: LiveTicket, outcome: Outcome): void {
    const tpotMs = paceOf(ticket, outcome)
    if (outcome.kind !== 'completed' || ticket.attempts.length !== 1 || tpotMs === undefined) return
    const { instance } = ticket
    const nowUnixMs = this.#parts.clock.nowUnixMs()
    const watched = this.#watched.get(instance) ?? newlyWatched()
    this.#watched.set(instance, watched)
    watched.endsUnixMs[watched.ends++ % ENDS_KEPT] = nowUnixMs
    const promptTokens = outcome.promptTokens ?? ticket.input.known.promptTokens
    const { streamed, whole } = watched
    const [own, other] = ticket.call.stream ? [streamed, whole] : [whole, streamed]
    const change = own.add({ tpotMs, promptTokens, inFlight: ticket.inFlightBefore })
    if (!change) return
    other.follow(change.factor)
    const back = Math.min(change.calls, ENDS_KEPT, watched.ends)
    const sinceUnixMs = watched.endsUnixMs[(watched.ends - back) % ENDS_KEPT] as number
    this.#notice(instance, { ...change, sinceUnixMs, nowUnixMs })
  }

  /** The shape that is believed of the instance now, where it is another than `known`; `known` itself elsewhere. */
  shapeOf(instance: InstanceView, known: EngineShape | undefined): EngineShape | undefined {
    if (this.#holding.size === 0) return known
    const holding = this.#holding.get(keyOf(instance.pool, instance.name))
    if (!holding) return known
    const shape = known ?? shapeOfSpeed(instance.speed)
    const found = holding.scaled.get(shape)
    if (found) return found
    const scaled = { ...shape, law: scaleLaw(shape.law, holding.factor) }
    holding.scaled.set(shape, scaled)
    return scaled
  }

  /** A profile of these instances serves that was learned at that time: it knows of changes before. */
  learned(pool: string, instances: Iterable<string>, profile: { readonly version: string; readonly registeredUnixMs: number }): void {
    for (const instance of instances) {
      const holding = this.#holding.get(keyOf(pool, instance))
      if (!holding || holding.sinceUnixMs > profile.registeredUnixMs) continue
      this.#holding.delete(keyOf(pool, instance))
      this.#parts.report({ kind: 'change over', pool, instance, words: `its profile was learned anew (${profile.version})` })
    }
  }

  /** Somebody says that the instance is what it is; words for the answer. Throws where no change of it holds. */
  accept(pool: string, instance: string): string {
    if (!this.#holding.delete(keyOf(pool, instance))) throw new Error(`no change of ${instance} in pool ${pool} holds`)
    return `${instance} is taken for what it is now; its profile holds as it stands`
  }

  #notice(
    { pool, name: instance }: InstanceView,
    {
      factor: by,
      calls,
      sinceUnixMs,
      nowUnixMs,
    }: { readonly factor: number; readonly calls: number; readonly sinceUnixMs: number; readonly nowUnixMs: number },
  ): void {
    const { report, count } = this.#parts
    const earlier = this.#holding.get(keyOf(pool, instance))
    const factor = by * (earlier?.factor ?? 1)
    if (earlier && Math.abs(Math.log(factor)) < CHANGE_LEAST) {
      this.#holding.delete(keyOf(pool, instance))
      report({ kind: 'change over', pool, instance, words: 'again the time per token that it had; its profile holds again' })
      return
    }
    this.#holding.set(keyOf(pool, instance), { factor, sinceUnixMs, scaled: new Map() })
    count('instance changed')
    report({ kind: 'instance changed', pool, instance, factor, words: wordsOf(factor, calls), sinceUnixMs, noticedUnixMs: nowUnixMs })
  }
}

function newlyWatched(): Watched {
  return { streamed: new ChangeWatch(), whole: new ChangeWatch(), endsUnixMs: new Float64Array(ENDS_KEPT), ends: 0 }
}

/** Time per token as the call's kind tells it; undefined where it says nothing. */
function paceOf({ call, input }: LiveTicket, { tpotMs, outputTokens = 0, e2eMs }: Outcome): number | undefined {
  if (call.stream) return tpotMs
  return outputTokens > 0 ? (e2eMs - input.decisionRow.placedMs) / outputTokens : undefined
}

function wordsOf(factor: number, calls: number): string {
  const causes = factor > 1 ? 'slower hardware, a neighbour or a fault' : 'faster hardware or smaller weights'
  return `${factor.toFixed(2)} times the time per token at the same load, for ${calls} calls: ${causes}; its profile is taken so until it is learned anew`
}

const keyOf = (pool: string, instance: string): string => `${pool}\n${instance}`
