import type { InstanceView } from '../fleet/instance.ts'
import { DEFER, type TickAgent, TickQueue } from '../hold/tick-queue.ts'
import type { EngineShape } from '../impact/engine-shape.ts'
import type { MixingParameters } from '../impact/mixing.ts'
import { createLeastRequest } from '../placement/least-request.ts'
import { createRng } from '../rng.ts'
import type { HeldSlot } from '../simulation/fleet/call-table.ts'
import { Simulation } from '../simulation/fleet/simulation.ts'
import { streamOf, type TwinCall } from '../simulation/fleet/twin-call.ts'
import type { Scenario } from '../simulation/scenario/scenarios.ts'
import { type Score, ScoreSheet } from '../simulation/scenario/score.ts'
import type { PaperSettings } from './paper-constants.ts'
import { bestAction } from './paper-net.ts'
import type { Transition } from './paper-replay.ts'
import { heuristicOf, mixingOn, RewardMeter } from './paper-reward.ts'
import {
  bucketOf,
  bucketTokens,
  emptyReading,
  type InstanceReading,
  paperMixing,
  readInstance,
  stateWidth,
  writeState,
} from './paper-state.ts'

/** Chooses an action, 0…m − 1 an instance and m to defer, from the state and each instance's r_mixing; both arrays are reused. */
export type Actor = (state: Float32Array, mixing: Float64Array) => number

/** At a completion, older readings than this are taken anew; chosen, five ticks. */
const READING_AGE_MS = 100

interface Decision {
  readonly state: Float32Array
  readonly action: number
  readonly heuristic: number
  readonly atMs: number
}

/** One workload on the twin, decided by ticks, seen as an episode: states out, actions in, transitions to `onTransition` where anybody learns. */
class Episode implements TickAgent<HeldSlot> {
  readonly #settings: PaperSettings
  readonly #act: Actor
  readonly #onTransition: ((transition: Transition) => void) | undefined
  readonly #shapes: ReadonlyMap<string, EngineShape>
  readonly #mixings: MixingParameters[]
  readonly #readings: InstanceReading[]
  readonly #mixing: Float64Array
  readonly #state: Float32Array
  readonly #meter: RewardMeter
  #instances: readonly InstanceView[] = []
  #queued = 0
  #readMs = Number.NEGATIVE_INFINITY
  #last: Decision | undefined

  constructor(given: EpisodePlan) {
    const { scenario, settings } = given
    const instances = scenario.fleet.length
    this.#settings = settings
    this.#act = given.act
    this.#onTransition = given.onTransition
    this.#shapes = new Map(scenario.fleet.map(({ name, profile }) => [name, profile]))
    this.#mixings = scenario.fleet.toSorted((a, b) => (a.name < b.name ? -1 : 1)).map(({ profile }) => paperMixing(profile, settings))
    this.#readings = scenario.fleet.map(emptyReading)
    this.#mixing = new Float64Array(instances)
    this.#state = new Float32Array(stateWidth(instances))
    this.#meter = new RewardMeter(settings)
  }

  decide(asked: Parameters<TickAgent<HeldSlot>['decide']>[0]): number {
    const { head, queued, nowMs } = asked
    if (asked.count !== this.#readings.length) throw new Error(`the net is for ${this.#readings.length} instances, ${asked.count} are open`)
    this.#instances = asked.instances
    this.#queued = queued
    this.#read(nowMs)
    const bucket = bucketOf(head.predictedOutputTokens, this.#settings)
    const { promptTokens } = head
    const promptSecondsPerToken = (this.#mixings[0] as MixingParameters).promptSecondsPerToken
    writeState({ queued, promptTokens, bucket, promptSecondsPerToken, readings: this.#readings, settings: this.#settings }, this.#state)
    const call = { promptTokens, outputTokens: bucketTokens(bucket, this.#settings) }
    mixingOn(call, this.#readings, { parameters: this.#mixings, settings: this.#settings, out: this.#mixing })
    const action = this.#obeyed(this.#act(this.#state, this.#mixing))
    if (this.#onTransition) this.#remember(action, nowMs)
    if (action === this.#readings.length) return DEFER
    this.#queued--
    return action
  }

  /** Nobody may be deferred while nothing runs, or the workload would never end: then the best instance by r_mixing takes the call. */
  #obeyed(action: number): number {
    const idle = this.#readings.every((reading) => reading.runningCalls === 0)
    return action === this.#readings.length && idle ? bestAction(this.#mixing) : action
  }

  /** A call is over, and gone from its ledger. */
  completed(nowMs: number): void {
    if (!this.#onTransition || !this.#last) return
    // While calls wait, the last tick's reading is as good.
    if (nowMs - this.#readMs > READING_AGE_MS) this.#read(nowMs)
    this.#meter.advance(nowMs, { unfinished: this.#unfinished(), completions: 1 })
  }

  /** The workload is over. */
  end(): void {
    if (this.#last) this.#onTransition?.({ ...this.#last, reward: this.#meter.reward, ticks: 0, ends: true })
  }

  #remember(action: number, nowMs: number): void {
    const unfinished = this.#unfinished()
    const state = Float32Array.from(this.#state)
    if (this.#last) {
      this.#meter.advance(nowMs, { unfinished, completions: 0 })
      const ticks = Math.round((nowMs - this.#last.atMs) / this.#settings.tickMs)
      this.#onTransition?.({ ...this.#last, reward: this.#meter.reward, ticks, ends: false })
    }
    this.#last = { state, action, heuristic: heuristicOf(action, this.#mixing, this.#settings), atMs: nowMs }
    this.#meter.start(nowMs, unfinished)
  }

  #read(nowMs: number): void {
    this.#readMs = nowMs
    for (const [i, instance] of this.#instances.entries()) {
      const reading = this.#readings[i]
      if (!reading) continue
      const shape = this.#shapes.get(instance.name) as EngineShape
      readInstance(instance, { shape, mixing: this.#mixings[i] as MixingParameters, settings: this.#settings }, reading)
    }
  }

  #unfinished(): number {
    return this.#readings.reduce((all, reading) => all + reading.unfinished, this.#queued)
  }
}

/** A workload under way: play on, then ask for the score. */
export interface OpenEpisode {
  /** Plays up to `untilMs` of its own time; false once every call is over. */
  advance(untilMs: number): boolean
  /** Score of the whole, to be asked once at the end. */
  end(): Score
}

/** What is played, by whom, and who hears of the transitions; nobody: then no reward is measured. */
export interface EpisodePlan {
  readonly scenario: Scenario
  readonly calls: readonly TwinCall[]
  readonly settings: PaperSettings
  readonly act: Actor
  readonly onTransition?: (transition: Transition) => void
}

/** Begins a workload on the twin with an actor at the ticks. */
export function openEpisode(plan: EpisodePlan): OpenEpisode {
  const { scenario, calls, settings } = plan
  const episode = new Episode(plan)
  const sheet = new ScoreSheet(scenario.fleet.length)
  const simulation = new Simulation({
    fleet: scenario.fleet,
    calls: streamOf(calls),
    // Every release names one instance, so that nothing is left to the policy.
    policy: createLeastRequest,
    policyName: 'paper',
    hold: () => new TickQueue<HeldSlot>({ agent: episode, tickMs: settings.tickMs }),
    rng: createRng(1),
    onEnd: (end) => {
      sheet.add(end)
      episode.completed(end.endedMs)
    },
  })
  return {
    advance: (untilMs) => simulation.advance(untilMs),
    end() {
      episode.end()
      return sheet.score(simulation.totals())
    },
  }
}

/** Plays a whole workload and scores it like any arm. */
export function playEpisode(plan: EpisodePlan): Score {
  const episode = openEpisode(plan)
  episode.advance(Number.POSITIVE_INFINITY)
  return episode.end()
}
