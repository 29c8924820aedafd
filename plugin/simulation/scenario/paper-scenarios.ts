import { profileNamed } from '../profiles.ts'
import { instanceCallsPerS } from '../saturation.ts'
import { drawLogNormal, drawPaper } from './mixes.ts'
import { generatedScenario, generatedScenarios, type Scenario, sameMachines } from './scenarios.ts'

/** Lengths like the paper's production trace, of which it gives the means alone, 5,527 and 113 tokens; spreads as in the Azure code trace. */
const PRODUCTION = drawLogNormal('generic', { prompt: [5527, 5000, 30_000], output: [113, 130, 2000] })
/** The paper's load of its own experiment, about 1.75 times what the fleet completes; of its production trace it gives none. */
const PRODUCTION_LOAD = 1.75

/**
 * The settings of Jain et al., "Intelligent Router for LLM Workloads" (arXiv 2408.13510), sections of results: four and eight V100, four A100 with and without
 * chunked prefill (order v1 and v0), and production-like lengths.
 */
export function paperScenarios(): Scenario[] {
  const a100 = sameMachines('a100-8b', 4)
  // Without chunks a prompt must fit a step whole: the V100's budget, above the mix's longest prompt.
  const whole = a100.map((one) => ({ ...one, profile: { ...one.profile, name: 'a100-8b-v0', order: 'v0' as const, budgetTokens: 4096 } }))
  const callsPerS = Math.round(PRODUCTION_LOAD * a100.length * instanceCallsPerS(profileNamed('a100-8b'), PRODUCTION))
  return [
    ...generatedScenarios().filter(({ name }) => name === 'paper-v100x4@20' || name === 'paper-v100x8@40'),
    generatedScenario({ name: 'paper-a100x4-whole@80', fleet: whole, mix: drawPaper, mixName: 'paper', callsPerS: 80 }),
    generatedScenario({ name: 'paper-a100x4-chunked@80', fleet: a100, mix: drawPaper, mixName: 'paper', callsPerS: 80 }),
    generatedScenario({ name: 'paper-production', fleet: a100, mix: PRODUCTION, mixName: 'production-like', callsPerS }),
  ]
}
