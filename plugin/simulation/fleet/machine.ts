import { EngineCore } from '../engine/core.ts'
import type { SequenceTable } from '../engine/sequences.ts'
import type { Scheduling } from '../engine/state.ts'
import type { Profile } from '../profiles.ts'
import type { SimulationTotals } from './simulation-options.ts'

/** One instance of a simulated fleet. */
export interface MachineSpec {
  readonly name: string
  readonly profile: Profile
  /** Relative speed as an operator would write it; 1 by default. */
  readonly speed?: number
  /** 'fcfs' by default. */
  readonly scheduling?: Scheduling
  /** Not there from the start: it joins by script. */
  readonly absent?: boolean
}

/** What happens to an instance in mid-run, by name. A slow instance's steps take `factor` times as long; 1 again is healthy. */
export type FleetEvent =
  | { readonly atMs: number; readonly instance: string; readonly what: 'join' | 'drain' | 'die' | 'recover' }
  | { readonly atMs: number; readonly instance: string; readonly what: 'slow'; readonly factor: number }

/** A simulated model server: its engine, and whether it is there. */
export class Machine {
  readonly slot: number
  readonly name: string
  readonly profile: Profile
  readonly speed: number
  readonly core: EngineCore
  /** In the routers' list. */
  present: boolean
  /** Takes no new calls. */
  draining = false
  /** Its process answers. */
  alive = true
  /** When its engine has to be looked at: the end of its run, or at once where work came to an idle one; Infinity while idle. */
  dueMs = Number.POSITIVE_INFINITY

  constructor(spec: MachineSpec, slot: number, table: SequenceTable) {
    this.slot = slot
    this.name = spec.name
    this.profile = spec.profile
    this.speed = spec.speed ?? 1
    this.core = new EngineCore({ table, profile: spec.profile, scheduling: spec.scheduling ?? 'fcfs' })
    this.present = !spec.absent
  }

  /** Work came or goes: the run ends with the step under way, an idle engine starts now. */
  disturb(nowMs: number): void {
    if (this.core.busy) {
      this.core.cut(nowMs)
      this.dueMs = this.core.endMs
    } else this.dueMs = nowMs
  }

  /** Lets happen what the script says. Gives the slots that were in an engine which dies. */
  play(event: FleetEvent, nowMs: number): readonly number[] {
    switch (event.what) {
      case 'join':
        this.present = true
        this.draining = false
        return NOBODY
      case 'drain':
        this.draining = true
        return NOBODY
      case 'recover':
        this.alive = true
        return NOBODY
      case 'slow':
        this.core.slowDown(event.factor)
        if (this.core.busy) this.disturb(nowMs)
        return NOBODY
      case 'die':
        this.alive = false
        this.dueMs = Number.POSITIVE_INFINITY
        return this.core.clear()
    }
  }

  /** Begins the next run at a boundary. */
  begin(nowMs: number): void {
    this.dueMs = this.core.begin(nowMs) ? this.core.endMs : Number.POSITIVE_INFINITY
  }
}

const NOBODY: readonly number[] = []

/** Counters of all engines together. */
export function sumCounters(machines: readonly Machine[]): Omit<SimulationTotals, 'arrived' | 'endedMs'> {
  const sum = (counter: 'preemptions' | 'steps' | 'prefixHitTokens' | 'prefixQueryTokens'): number =>
    machines.reduce((total, { core }) => total + core.state.counters[counter], 0)
  return {
    preemptions: sum('preemptions'),
    steps: sum('steps'),
    prefixHitTokens: sum('prefixHitTokens'),
    prefixQueryTokens: sum('prefixQueryTokens'),
  }
}
