import { createFleet, type Ending, type Fleet, type LiveInstance, type StateChange } from '../../plugin/fleet/fleet.ts'
import type { Dispatch, DispatchEntry } from '../../plugin/fleet/ledger.ts'
import { FLEET_DEFAULTS, type FleetOptions } from '../../plugin/fleet/options.ts'

/** A fleet of one pool 'p' with instances 'a', 'b', … and a clock that stands where the test puts it. */
export interface SmallFleet {
  readonly fleet: Fleet
  readonly changes: StateChange[]
  nowMs: number
  at(name: string): LiveInstance
  names(): string[]
  send(name: string, entry?: Partial<DispatchEntry>): Dispatch
  end(name: string, dispatch: Dispatch, ending: Ending): void
  /** One call sent and ended at once. */
  call(name: string, ending: Ending, callId?: number): void
  /** Lets time pass in ticks of 100 ms. */
  pass(ms: number): void
  scrape(name: string, ...lines: string[]): void
}

export const ANSWERED: Ending = { kind: 'answered' }
export const failed = (failure: (Ending & { kind: 'failed' })['failure'], status?: number): Ending => ({
  kind: 'failed',
  failure,
  ...(status === undefined ? {} : { status }),
})

export function smallFleet(size: number, options: FleetOptions = FLEET_DEFAULTS): SmallFleet {
  const changes: StateChange[] = []
  const fleet = createFleet({ options, onStateChange: (change) => changes.push(change) })
  const names = Array.from({ length: size }, (_, i) => String.fromCharCode(97 + i))
  fleet.reconcile(
    'p',
    names.map((name, i) => ({ name, url: `http://127.0.0.1:${9000 + i}`, weight: 1, speed: 1 })),
  )
  let calls = 0
  const small: SmallFleet = {
    fleet,
    changes,
    nowMs: 1,
    at(name) {
      const one = fleet.instance('p', name)
      if (!one) throw new Error(`no instance ${name}`)
      return one
    },
    names() {
      const { count, instances } = fleet.candidates('p')
      return instances.slice(0, count).map((one) => one.name)
    },
    send(name, entry = {}) {
      return fleet.dispatch(small.at(name), { callId: ++calls, promptTokens: 100, stream: true, ...entry }, small.nowMs)
    },
    end: (name, dispatch, ending) => fleet.settle(small.at(name), dispatch, ending, small.nowMs),
    call(name, ending, callId) {
      small.end(name, small.send(name, callId === undefined ? {} : { callId }), ending)
    },
    pass(ms) {
      for (let left = ms; left > 0; left -= 100) {
        small.nowMs += Math.min(100, left)
        fleet.tick(small.nowMs)
      }
    },
    scrape(name, ...lines) {
      const one = small.at(name)
      fleet.applyScrape(one, fleet.beginScrape(one, small.nowMs), `${lines.join('\n')}\n`, small.nowMs)
    },
  }
  return small
}
