import { createRng } from '../../rng.ts'
import type { MachineSpec } from '../fleet/machine.ts'
import { instanceCallsPerS } from '../saturation.ts'
import { AGENT_PLAN, generateAgents } from './agents.ts'
import { drawLogNormal, drawPaper, type Mix, mixtureOf } from './mixes.ts'
import { generatedScenario, type Scenario, SIGMA, sameMachines } from './scenarios.ts'

/**
 * Workloads that look like the recorded ones and need no file: lengths log-normal with the recorded means and spreads, arrivals gamma with the recorded
 * coefficient of variation. Their figures are their own; the recorded ones are the scenarios of the same name without `-like`.
 */

/** Azure 2023 conversation: 1,155 ± 1,109 / 211 ± 163 tokens, arrivals CV 1.09. Code: 2,048 ± 1,926 / 28 ± 60, CV 13.2. Mooncake: 12,035 / 343. */
const LIKE: readonly { readonly name: string; readonly mix: Mix; readonly arrivalCv: number }[] = [
  { name: 'azure-chat-like', mix: drawLogNormal('generic', { prompt: [1155, 1109, 14_000], output: [211, 163, 1000] }), arrivalCv: 1.09 },
  { name: 'azure-code-like', mix: drawLogNormal('generic', { prompt: [2048, 1926, 7500], output: [28, 60, 2000] }), arrivalCv: 13.2 },
  { name: 'mooncake-like', mix: drawLogNormal('generic', { prompt: [12_035, 14_000, 120_000], output: [343, 320, 2000] }), arrivalCv: 1 },
  {
    name: 'applications',
    mix: mixtureOf([
      { application: 'chat', weight: 5, mix: drawLogNormal('generic', { prompt: [1155, 1109, 14_000], output: [211, 163, 1000] }) },
      { application: 'completion', weight: 3, mix: drawLogNormal('generic', { prompt: [2048, 1926, 7500], output: [28, 60, 2000] }) },
      { application: 'tasks', weight: 2, mix: drawPaper },
    ]),
    arrivalCv: 2,
  },
]

/** Coefficients of variation of the bursts that are offered by name. */
const BURSTS = [0.5, 2, 5, 13] as const
const LOAD = 0.85
/** New sessions per second of `agents`: about 0.7 of what four a100-8b serve with their caches warm. */
const AGENT_SESSIONS_PER_S = 4
const AGENT_SESSIONS = 300

/** Generated scenarios beyond the named ones: look-alikes of the recorded traces, applications mixed, bursts, agents. */
export function sampleScenarios(): Scenario[] {
  const fleet = sameMachines('a100-8b', 4)
  return [
    ...LIKE.map(({ name, mix, arrivalCv }) =>
      generatedScenario({ name, fleet, mix, mixName: name, callsPerS: atLoad(fleet, mix), arrivalCv }),
    ),
    ...BURSTS.map((arrivalCv) =>
      generatedScenario({
        name: `bursts-cv${arrivalCv}`,
        fleet,
        mix: drawPaper,
        mixName: 'paper',
        callsPerS: atLoad(fleet, drawPaper),
        arrivalCv,
      }),
    ),
    agentScenario(fleet),
  ]
}

function agentScenario(fleet: readonly MachineSpec[]): Scenario {
  return {
    name: 'agents',
    label: 'a100-8b, generated agent sessions with growing prefixes',
    fleet,
    callsPerS: AGENT_SESSIONS_PER_S * AGENT_PLAN.meanSteps,
    calls: ({ seed, sigma = SIGMA, errors, rateFactor = 1 }) =>
      generateAgents({
        ...AGENT_PLAN,
        sessionsPerS: AGENT_SESSIONS_PER_S * rateFactor,
        sessions: AGENT_SESSIONS,
        sigma,
        errors,
        rng: createRng(seed).stream('agents'),
      }),
  }
}

function atLoad(fleet: readonly MachineSpec[], mix: Mix): number {
  return LOAD * fleet.reduce((sum, { profile }) => sum + instanceCallsPerS(profile, mix), 0)
}
