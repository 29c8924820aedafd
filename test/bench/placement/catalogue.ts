import { generatedScenarios, type Scenario } from '../../../plugin/simulation/scenario/scenarios.ts'
import { sweepScenarios } from '../../../plugin/simulation/scenario/sweep.ts'
import { loadTraceScenarios } from '../../../plugin/simulation/scenario/trace-scenarios.ts'

/** Where recorded traces are looked for: beside the repository. */
export const DATA_DIR = new URL('../../../../shared/data/', import.meta.url).pathname

/** Every named scenario, those of the sweep included; says which are left out for want of their data. */
export async function loadCatalogue(
  dataDir: string,
): Promise<{ readonly named: Scenario[]; readonly sweep: Scenario[]; readonly skipped: string[] }> {
  const { scenarios, missing } = await loadTraceScenarios(dataDir)
  return {
    named: [...generatedScenarios(), ...scenarios],
    sweep: sweepScenarios(),
    skipped: missing.map((one) => `${one.name} skipped: ${one.file} is not in ${dataDir}`),
  }
}
