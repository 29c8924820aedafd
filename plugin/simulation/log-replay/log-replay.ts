import type { InstanceView } from '../../fleet/instance.ts'
import type { LearnedModel } from '../../placement/learned-model.ts'
import { createTwinPolicy } from '../../placement/policies.ts'
import type { Policy } from '../../placement/policy.ts'
import { createRng } from '../../rng.ts'
import type { MachineSpec } from '../fleet/machine.ts'
import { Simulation } from '../fleet/simulation.ts'
import type { CallEnd } from '../fleet/simulation-options.ts'
import { streamOf } from '../fleet/twin-call.ts'
import { holdOf, parseArm } from '../scenario/arm.ts'
import { type Score, ScoreSheet } from '../scenario/score.ts'
import { asTwinCalls, type ServedCall } from './traffic.ts'

/** The policy that does what was done: each call goes to the instance that served it. */
export const AS_LOGGED = 'as-logged'

export interface LogReplayInput {
  /** In order of arrival. */
  readonly calls: readonly ServedCall[]
  readonly fleet: readonly MachineSpec[]
  /** Calls that arrived before are played, and not counted. */
  readonly countedFromUnixMs: number
  /** What `learned` decides by. */
  readonly model?: LearnedModel
}

/** What stored calls would have cost under a policy; mean and percentiles over the counted calls. */
export function replayUnder(arm: string, input: LogReplayInput, onEnd: (end: CallEnd, call: ServedCall) => void = () => undefined): Score {
  const { calls, fleet, countedFromUnixMs } = input
  const startUnixMs = calls[0]?.arrivedUnixMs ?? 0
  const sheet = new ScoreSheet(fleet.length)
  const { policy: name, hold } = parseArm(arm)
  const profiles = new Map(fleet.map((one) => [one.name, one.profile]))
  const parts = { profileOf: (instance: InstanceView) => profiles.get(instance.name), model: input.model }
  const makePolicy = (): Policy => (name === AS_LOGGED ? createAsLogged(calls) : createTwinPolicy(name, parts))
  const policy = makePolicy()
  const simulation = new Simulation({
    fleet,
    calls: streamOf(asTwinCalls(calls, startUnixMs)),
    policy: () => policy,
    policyName: name,
    ...holdOf({ policy: name, ...(hold === undefined ? {} : { hold }) }, policy, parts),
    rng: createRng(1),
    onEnd: (end) => {
      const call = calls[end.index] as ServedCall
      onEnd(end, call)
      if (call.arrivedUnixMs >= countedFromUnixMs) sheet.add(end)
    },
  })
  return sheet.score(simulation.run())
}

/** The policy keeps state between calls, so that it has to be played from the log's start. */
export function keepsState(arm: string): boolean {
  const { policy: name } = parseArm(arm)
  if (name === AS_LOGGED) return false
  const policy = createTwinPolicy(name)
  return policy.onPlaced !== undefined || policy.onSettled !== undefined
}

function createAsLogged(calls: readonly ServedCall[]): Policy {
  return {
    name: AS_LOGGED,
    reason: 'lowest cost',
    distribute({ count, instances }, call, { costs, probabilities }) {
      const served = calls[call.callId - 1]?.instance
      let chosen = 0
      for (let i = 0; i < count; i++) if (instances[i]?.name === served) chosen = i
      costs.fill(Number.NaN, 0, count)
      probabilities.fill(0, 0, count)
      probabilities[chosen] = 1
    },
  }
}
