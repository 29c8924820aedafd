import type { Trial } from '../../plugin/log/control/trials.ts'
import { firstClause } from '../../plugin/log/control/verdict-words.ts'
import type { Control } from '../../plugin/log/control.ts'
import type { BlockScore } from '../../plugin/log/read/trials.ts'
import type { Model } from '../answer.ts'
import { type Chart, createChart, type Series } from '../chart.ts'
import { formatCount, formatDay, formatPercent } from '../format.ts'
import type { PageParts } from '../routes.ts'
import { parsedObject, type Triple } from './models/numbers.ts'

/** How much sooner calls end than under the comparison arm, measured or promised. Above 0 is sooner. */
interface Gain {
  readonly value: number
  readonly low: number
  readonly high: number
}

/** Trials looked through for the newest one that was measured. */
const TRIALS_MAX = 20

/** What Overview says first: whether it helps, as far as that was measured; else what to do next. */
export function gainModel(
  { control, reader, trialBlocks, clock }: PageParts,
  policies: readonly { readonly name: string; readonly policy: string }[],
): Model {
  const trials = control.trials.list({ limit: TRIALS_MAX }).filter((trial) => trial.mode === 'canary')
  const running = trials.find((trial) => trial.state === 'running')
  const measured = trials.find((trial) => gainOf(trial.result) !== undefined)
  const spoken = running ?? measured
  const blocks = spoken === undefined ? [] : reader.read((query) => trialBlocks.blocks(query, spoken.trialId, clock.nowUnixMs()))
  const charts = spoken === undefined ? [] : armCharts(versionOf(control, spoken), blocks)
  if (measured !== undefined) return { ...measuredModel(control, measured, running), charts }
  if (running !== undefined) {
    const ended = blocks.filter((block) => block.completed > 0).length
    return {
      big: '…',
      tone: '',
      title: `${versionOf(control, running)} is being measured on real calls`,
      interval: undefined,
      why: `${formatCount(ended)} ${ended === 1 ? 'block' : 'blocks'} of time so far${running.blocksPlanned > 0 ? ` of ${formatCount(running.blocksPlanned)}` : ''}; the gain with its interval stands here when there are enough of both arms.`,
      href: '/models#trial',
      link: 'The canary',
      charts,
    }
  }
  return notMeasured(control, policies)
}

/** Blocks drawn: the newest, as many as can be told apart. */
const BLOCKS_DRAWN = 120

/** E2E and TTFT of both arms over the blocks of a canary; none while no block of both has calls. */
function armCharts(version: string, all: readonly BlockScore[]): Chart[] {
  const blocks = all.slice(-BLOCKS_DRAWN)
  const [first] = blocks
  const last = blocks.at(-1)
  const arms = new Set(blocks.flatMap(({ arm, completed }) => (completed > 0 ? [arm] : [])))
  if (first === undefined || last === undefined || arms.size < 2) return []
  const series = (name: string, arm: BlockScore['arm'], mark: Series['mark'], of: (block: BlockScore) => number | null): Series => ({
    name,
    mark,
    values: blocks.map((block) => (block.arm === arm ? seconds(of(block)) : undefined)),
  })
  const chart = (title: string, of: (block: BlockScore) => number | null): Chart =>
    createChart({
      title,
      unit: 's, by block',
      kind: 'lines',
      fromUnixMs: first.fromUnixMs,
      toUnixMs: last.toUnixMs,
      bucketMs: Math.max(1, first.toUnixMs - first.fromUnixMs),
      atUnixMs: blocks.map(({ fromUnixMs }) => fromUnixMs),
      series: [series(version, 'challenger', 's1', of), series('what serves else', 'control', 's2', of)],
    })
  return [chart('Mean E2E while measured', (block) => block.meanE2eMs), chart('Mean TTFT while measured', (block) => block.meanTtftMs)]
}

const seconds = (ms: number | null): number | undefined => (ms === null ? undefined : ms / 1000)

function measuredModel(control: Control, trial: Trial, running: Trial | undefined): Model {
  const gain = gainOf(trial.result) as Gain
  const clear = gain.low > 0 ? 'good' : gain.high < 0 ? 'bad' : ''
  const words =
    clear === ''
      ? 'make no clear difference against'
      : gain.value > 0
        ? `end ${formatPercent(gain.value)} sooner than under`
        : `end ${formatPercent(-gain.value)} later than under`
  const { controlBlocks, challengerBlocks } = parsedObject(trial.result ?? '{}')
  const blocks = Number(controlBlocks ?? 0) + Number(challengerBlocks ?? 0)
  const promise = promiseOf(control, trial)
  return {
    big: `${gain.value > 0 ? '−' : '+'}${formatPercent(Math.abs(gain.value))}`,
    tone: clear,
    title: clear === '' ? `${versionOf(control, trial)}: calls ${words} what served before` : `Calls ${words} what served before`,
    interval: { text: `95 % interval ${signed(-gain.high)} to ${signed(-gain.low)}`, tone: clear },
    why: [
      `Mean E2E of ${versionOf(control, trial)}, measured by switchback${blocks > 0 ? ` over ${formatCount(blocks)} blocks` : ''} since ${formatDay(trial.startedUnixMs)}.`,
      promise === undefined ? '' : `Promised by the twin: ${signed(-promise.value)}.`,
      trial.state === 'withdrawn' ? `It was withdrawn: ${trial.endedWhy ?? 'nobody said why'}.` : '',
      running !== undefined && running !== trial ? 'Another canary runs now.' : '',
    ]
      .filter((one) => one !== '')
      .join(' ')
      // A figure and its sign stay together.
      .replaceAll(' %', '\u00a0%'),
    href: trial.state === 'running' ? '/models#trial' : '/models#trials',
    link: 'The canary',
  }
}

/** Nothing was measured: what the twin says where it was asked, and what to do next. */
function notMeasured(control: Control, policies: readonly { readonly name: string; readonly policy: string }[]): Model {
  const models = control.models.list('policy')
  const best = models.find((model) => model.alias === 'champion') ?? models.find((model) => model.alias === 'challenger')
  const [verdict] = best === undefined ? [] : control.models.verdicts(best.modelId)
  const placed = policies.map(({ name, policy }) => `Pool ${name} is placed by ${policy}.`).join(' ')
  if (best !== undefined && verdict !== undefined)
    return {
      big: '– %',
      tone: '',
      title: 'Not measured on real calls yet',
      interval: undefined,
      why: `The twin says of ${best.version}: ${firstClause(verdict.words)}. A canary measures it on real calls, with its interval. ${placed}`,
      href: best.alias === 'champion' ? '/models#policy' : `/models/${best.modelId}`,
      link: best.alias === 'champion' ? 'Models' : 'Try it as a canary',
    }
  return {
    big: '– %',
    tone: '',
    title: 'No comparison to show yet',
    interval: undefined,
    why: `Here will stand how much sooner calls end than under a comparison arm, with its 95 % interval. A night makes a model from the stored calls, a canary then measures it. Until then the Lab says what other policies would have cost. ${placed}`,
    href: '/lab',
    link: 'Ask the Lab',
  }
}

const signed = (ratio: number): string => `${ratio > 0 ? '+' : ratio < 0 ? '−' : ''}${formatPercent(Math.abs(ratio)) ?? '–'}`

function versionOf(control: Control, trial: Trial): string {
  const ids = [trial.policyModelId, trial.lengthModelId, trial.profileModelId].filter((id) => id !== null)
  return ids.map((id) => control.models.get(id)?.version ?? `model ${id}`).join(' with ') || 'the challenger'
}

/** The estimate as whoever made it wrote it: {"gain", "low", "high"} or {"gain": [value, low, high]}; undefined where there is none. */
export function gainOf(result: string | null): Gain | undefined {
  const { gain, low, high } = parsedObject(result ?? '{}')
  const isTriple = (value: unknown): value is Triple => Array.isArray(value) && value.length === 3 && value.every(Number.isFinite)
  if (isTriple(gain)) return { value: gain[0], low: gain[1], high: gain[2] }
  return typeof gain === 'number' && typeof low === 'number' && typeof high === 'number' ? { value: gain, low, high } : undefined
}

function promiseOf(control: Control, { policyModelId }: Trial): Gain | undefined {
  const [verdict] = policyModelId === null ? [] : control.models.verdicts(policyModelId)
  return verdict && gainOf(verdict.numbers)
}
