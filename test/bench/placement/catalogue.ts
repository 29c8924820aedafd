import { sampleScenarios } from '../../../plugin/simulation/scenario/samples.ts'
import { generatedScenarios, type Scenario } from '../../../plugin/simulation/scenario/scenarios.ts'
import { sweepScenarios } from '../../../plugin/simulation/scenario/sweep.ts'
import { loadTraceScenarios, NAMED_TRACES } from '../../../plugin/simulation/scenario/trace-scenarios.ts'

/** Where recorded traces are looked for: beside the repository. */
export const DATA_DIR = new URL('../../../../shared/data/', import.meta.url).pathname

/** What can be played. */
export interface Catalogue {
  /** The named scenarios. */
  readonly named: Scenario[]
  /** The fleets and mixes of the full protocol. */
  readonly sweep: Scenario[]
  /** Further ones, played when asked for by name. */
  readonly more: Scenario[]
  /** One sentence for each that lacks its data. */
  readonly skipped: string[]
}

/** Every scenario; says which are left out for want of their data. */
export async function loadCatalogue(dataDir: string): Promise<Catalogue> {
  const { scenarios, missing } = await loadTraceScenarios(dataDir)
  const isNamed = (scenario: Scenario): boolean => NAMED_TRACES.includes(scenario.name)
  return {
    named: [...generatedScenarios(), ...scenarios.filter(isNamed)],
    sweep: sweepScenarios(),
    more: [...sampleScenarios(), ...scenarios.filter((one) => !isNamed(one))],
    skipped: missing.map((one) => `${one.name} skipped: ${one.file} is not in ${dataDir}`),
  }
}
