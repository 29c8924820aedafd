import { join } from 'node:path'
import { openDataset } from '../../../plugin/learning/dataset.ts'
import { estimateOffPolicy } from '../../../plugin/learning/off-policy.ts'
import { loadPolicy, loadProfiles } from '../../../plugin/learning/serving-models.ts'
import type { ModelRecord } from '../../../plugin/log/control/models.ts'
import { createPolicy, LEARNED } from '../../../plugin/placement/policies.ts'
import { createRng } from '../../../plugin/rng.ts'
import { VIRTUAL_MODEL } from '../../../plugin/simulation/virtual-fleet.ts'
import type { LearningSite } from './site.ts'
import type { Seen } from './traffic.ts'

/** Share of a day's decisions that the policy would make too with these profiles, as its night judged it: less than nearly all of them, and something else serves than was judged. */
export function agreementOf(
  { reader, folder }: Pick<LearningSite, 'reader' | 'folder'>,
  { day, policy, profiles }: { readonly day: Seen; readonly policy: ModelRecord; readonly profiles: ModelRecord },
): number {
  const range = { fromUnixMs: day.fromUnixMs, toUnixMs: day.toUnixMs }
  const choices = [...openDataset({ reader, range, decisions: true }).calls()].flatMap(({ decision, arrivedUnixMs, propensity, e2eMs }) =>
    decision ? [{ ...decision, names: decision.instances, arrivedUnixMs, propensity, e2eMs }] : [],
  )
  const dataDir = join(folder, '.phasewise')
  const known = loadProfiles(dataDir, profiles).get(VIRTUAL_MODEL)
  const judged = createPolicy(LEARNED, { model: loadPolicy(dataDir, policy), profileOf: ({ name }) => known?.get(name) })
  return estimateOffPolicy(choices, { policy: judged, rng: createRng(1) }).agreement
}
