import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { systemClock } from './clock.ts'
import { createPolicyCard } from './learning/policy-card.ts'
import { drawCurves } from './learning/policy-curves.ts'
import { Domain, type DomainSpec } from './learning/policy-domain.ts'
import { readPolicyModel, writePolicyModel } from './learning/policy-folder.ts'
import { OBJECTIVE } from './learning/policy-objective.ts'
import { REFINING_PLAN, SEARCH_PLAN } from './learning/policy-search.ts'
import { type PolicyProgress, trainPolicy } from './learning/policy-train.ts'
import { LEARNED_FEATURE_HASH } from './placement/learned-model.ts'

export interface TrainPolicyCommand {
  readonly out: string
  readonly seed: number
  readonly generations?: number
  readonly population?: number
  readonly tasks?: number
  readonly workers: number
  readonly data?: string
  readonly from?: string
  readonly objective: 'latency' | 'slo'
}

/** `phasewise train policy`: searches a policy in the twin, and writes the model, its card and its training curves. Throws ModelRefused on an unfit `--from`. */
export async function runTrainPolicy(command: TrainPolicyCommand): Promise<void> {
  const folder = resolve(command.out)
  mkdirSync(folder, { recursive: true })
  const spec: DomainSpec = { kind: 'broad', ...(command.data === undefined ? {} : { dataDir: resolve(command.data) }) }
  const { traces } = await Domain.open(spec)
  const champion = command.from === undefined ? undefined : readPolicyModel(resolve(command.from))
  const from = champion ? { from: champion.version } : {}
  const given = { generations: command.generations, population: command.population, tasks: command.tasks }
  const plan = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
  const objective = { ...OBJECTIVE, kind: command.objective }
  const startedMs = systemClock.nowMs()
  // Ctrl-C ends the search and keeps what it has found.
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  console.log(`traces: ${traces.length > 0 ? traces.join(', ') : 'none; generated traffic alone'}`)
  const trained = await trainPolicy({
    domain: spec,
    seed: command.seed,
    plan: { ...(champion ? REFINING_PLAN : SEARCH_PLAN), ...plan },
    objective,
    workers: command.workers,
    enough: stop.signal,
    ...(champion ? { champion } : {}),
    told: (progress) => console.log(describe(progress, systemClock.nowMs() - startedMs)),
    kept: (parameters, generation) =>
      writePolicyModel(
        join(folder, 'unfinished'),
        { version: `unfinished-${generation}`, featureHash: LEARNED_FEATURE_HASH, parameters },
        createPolicyCard({
          version: `unfinished-${generation}`,
          command: commandLine(command),
          seed: command.seed,
          traces,
          objective,
          ...from,
          generation,
        }),
      ),
  })
  const card = createPolicyCard({
    version: trained.model.version,
    command: commandLine({ ...command, generations: trained.history.length }),
    seed: command.seed,
    traces,
    objective,
    ...from,
    trained,
    trainedMinutes: (systemClock.nowMs() - startedMs) / 60_000,
  })
  writePolicyModel(folder, trained.model, card)
  if (trained.history.length > 0) writeFileSync(join(folder, 'training.svg'), drawCurves(trained.history))
  for (const [name, [value, low, high]] of Object.entries(card.measured.values)) console.log(`${name}: ${value} [${low}, ${high}]`)
  console.log(`written: ${join(command.out, 'model.onnx')} and card.json; version ${trained.model.version}`)
}

function describe({ generation, generations, meanLoss, bestLoss, centreLoss, byFamily }: PolicyProgress, elapsedMs: number): string {
  const families = Object.entries(byFamily).map(([family, loss]) => `${family} ${loss.toFixed(3)}`)
  return `${(elapsedMs / 60_000).toFixed(1)} min: generation ${generation} of ${generations}, loss ${centreLoss.toFixed(4)} (candidates ${meanLoss.toFixed(4)}, best ${bestLoss.toFixed(4)}); ${families.join(', ')}`
}

function commandLine(command: TrainPolicyCommand): string {
  const options = Object.entries(command).flatMap(([name, value]) => (value === undefined || name === 'data' ? [] : [`--${name} ${value}`]))
  return `npm run phasewise -- train policy ${options.join(' ')}${command.data === undefined ? '' : ' --data <folder of the traces>'}`
}
