import type { NightConfig } from '../config-night.ts'
import type { Control } from '../log/control.ts'
import type { Reader } from '../log/read/reader.ts'
import { readE2eP90 } from '../log/read/trials.ts'
import { BLOCKS_DEFAULT, suggestBlocks } from '../placement/switchback.ts'
import { foretoldBlocks } from './foretold-blocks.ts'
import type { Made } from './night.ts'
import type { NightDesk } from './night-desk.ts'
import { challengersOf } from './trial-conclusion.ts'

/** What the configuration wants done with challengers that passed: a shadow or a canary of all of them, and of the profiles that a policy goes with. Only after scheduled nights; a person decides for himself. */
export async function afterNight(parts: {
  readonly control: Control
  readonly reader: Reader
  readonly made: readonly Made[]
  readonly config: NightConfig
  readonly desk: NightDesk
  /** The schedule asked for the night. */
  readonly asked: boolean
}): Promise<void> {
  const { control, reader, config, desk } = parts
  const passed = parts.made.filter((one) => one.passed && one.kind !== 'profile')
  if (!parts.asked || config.afterwards === 'register' || passed.length === 0) return
  const running = control.trials.running()
  if (running) return desk.say(`${running.mode} ${running.trialId} runs: nothing new is tried beside it`)
  const foretold = passed.flatMap(({ modelId }) => {
    const model = control.models.get(modelId)
    return (model && foretoldBlocks(control, model)?.blocks) ?? []
  })[0]
  const blocks = suggestBlocks({ e2eMsP90: reader.read(readE2eP90) })
  const { trialId } = control.trials.start({
    mode: config.afterwards,
    models: Object.fromEntries(passed.map(({ kind, modelId }) => [kind, modelId])),
    shareRatio: config.canary.share,
    blockMs: config.canary.blockMs || blocks.blockMs,
    washoutMs: config.canary.washoutMs || blocks.washoutMs,
    blocksPlanned: config.afterwards === 'canary' ? config.canary.blocks || foretold || BLOCKS_DEFAULT : 0,
    seed: desk.runId,
    asked: { who: 'schedule', why: `made by run ${desk.runId}` },
  })
  const trial = control.trials.get(trialId)
  const versions = (trial ? challengersOf(trial) : []).map((modelId) => control.models.get(modelId)?.version)
  desk.say(`${config.afterwards} ${trialId} begins: ${versions.join(', ')}`)
}
