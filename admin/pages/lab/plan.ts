import { LAB_LEARNED, type LabPlan, type LabSource, labVersion } from '../../../plugin/log/control/lab.ts'
import type { Models } from '../../../plugin/log/control/models.ts'
import type { Visit } from '../../answer.ts'
import { formatInstant } from '../../format.ts'
import { parseInstant } from '../../zone.ts'

/** What the Lab can play, as whoever wired the admin says; the admin knows no policy and no scenario itself. */
export interface LabDoor {
  readonly scenarios: readonly { readonly name: string; readonly label: string }[]
  readonly policies: readonly string[]
  /** Orders of holding that may stand behind a policy: "least-kv + kv-time". */
  readonly holds: readonly string[]
  /** Version of the learned policy that ships; undefined where there is none. */
  readonly shipped?: string
  /** Says that a run waits. */
  nudge(): void
}

/** Bounds of one run: a run of all of it is some ten minutes at low priority. */
export const ARMS_MAX = 8
const LOADS_MAX = 6
const SEEDS_MAX = 20
const LOAD_LEAST = 0.1
const LOAD_MOST = 4
const SPAN_MAX_MS = 31 * 86_400_000

/** Checked where the first arm is "as-logged", which only stored calls have. */
export const AS_LOGGED = 'as-logged'

/** A learned policy that the Lab can play: its name in a plan, and what it is. */
export interface LabLearned {
  readonly name: string
  readonly text: string
}

/** Versions offered beside champion and challenger. */
const VERSIONS_MAX = 12

/** The learned policies there are: what serves and what is tried first, then other versions, newest first, and the one that ships. */
export function learnedPolicies(lab: LabDoor, models: Models): LabLearned[] {
  const rank = { champion: 0, challenger: 1, previous: 2 } as const
  const versions = models.list('policy').toSorted((a, b) => (a.alias === null ? 3 : rank[a.alias]) - (b.alias === null ? 3 : rank[b.alias]))
  const shipped = lab.shipped === undefined ? [] : [{ name: LAB_LEARNED, text: `learned, as it ships: ${lab.shipped}` }]
  return [
    ...versions.slice(0, VERSIONS_MAX).map(({ version, alias }) => ({
      name: labVersion(version),
      text: `learned, ${alias === null ? '' : `${alias}: `}${version}`,
    })),
    ...shipped,
  ]
}

/** Reads the form into a plan; every problem in words. */
export function readPlan(
  form: Visit['form'],
  lab: LabDoor,
  learned: readonly LabLearned[],
): { readonly plan: LabPlan; readonly problems: readonly string[] } {
  const problems: string[] = []
  const source = readSource(form, lab, problems)
  const arms = readArms(form, { ...lab, policies: [...learned.map(({ name }) => name), ...lab.policies] }, source, problems)
  const loads = numbers(form.loads ?? '1', 'Loads', problems).filter((load) => load >= LOAD_LEAST && load <= LOAD_MOST)
  if (loads.length === 0 || loads.length > LOADS_MAX)
    problems.push(`Loads are 1 to ${LOADS_MAX} numbers from ${LOAD_LEAST} to ${LOAD_MOST}, e.g. “0.7, 1, 1.2”.`)
  const seeds = source.kind === 'stored' ? 1 : Number(form.seeds ?? '5')
  if (!Number.isInteger(seeds) || seeds < 1 || seeds > SEEDS_MAX) problems.push(`Seeds are a number from 1 to ${SEEDS_MAX}.`)
  return { plan: { source, arms, loads: [...new Set(loads)], seeds }, problems }
}

function readSource(form: Visit['form'], lab: LabDoor, problems: string[]): LabSource {
  if (form.source === 'scenario') {
    const name = form.scenario ?? ''
    if (!lab.scenarios.some((one) => one.name === name)) problems.push(`There is no scenario “${name}”.`)
    return { kind: 'scenario', name }
  }
  const fromUnixMs = parseInstant(form.since ?? '') ?? Number.NaN
  const toUnixMs = parseInstant(form.until ?? '') ?? Number.NaN
  if (Number.isNaN(fromUnixMs) || Number.isNaN(toUnixMs)) problems.push('Stored calls need a beginning and an end, e.g. 2026-11-22T14:00.')
  else if (toUnixMs <= fromUnixMs || toUnixMs - fromUnixMs > SPAN_MAX_MS)
    problems.push('The end must come after the beginning, by a month at most.')
  if (form.pool === undefined) problems.push('Stored calls are of a pool: choose one.')
  return { kind: 'stored', pool: form.pool ?? '', fromUnixMs, toUnixMs }
}

function readArms(form: Visit['form'], lab: LabDoor, source: LabSource, problems: string[]): string[] {
  const ticked = lab.policies.filter((policy) => form[`policy-${policy}`] !== undefined)
  const written = (form.more ?? '')
    .split(',')
    .map((arm) => arm.trim().replace(/\s*\+\s*/, ' + '))
    .filter((arm) => arm !== '')
  for (const arm of written) {
    const [policy = '', hold, ...rest] = arm.split(' + ')
    if (!lab.policies.includes(policy) || (hold !== undefined && !lab.holds.includes(hold)) || rest.length > 0)
      problems.push(`“${arm}” is no policy: write POLICY or POLICY + ${lab.holds.join(' or ')}.`)
  }
  const base = form.base ?? 'round-robin'
  const known = base === AS_LOGGED ? source.kind === 'stored' : lab.policies.includes(base)
  if (!known) problems.push(base === AS_LOGGED ? 'Only stored calls can be compared with what was done.' : `“${base}” is no policy.`)
  const arms = [...new Set([base, ...ticked, ...written])]
  if (arms.length < 2 || arms.length > ARMS_MAX) problems.push(`Choose 1 to ${ARMS_MAX - 1} policies besides the one to compare with.`)
  return arms
}

function numbers(text: string, what: string, problems: string[]): number[] {
  const values = text
    .split(/[,;\s]+/)
    .filter((one) => one !== '')
    .map(Number)
  if (values.some((value) => Number.isNaN(value))) problems.push(`${what} “${text}” are no numbers.`)
  return values.filter((value) => !Number.isNaN(value))
}

/** The plan's source in words. */
export function sourceWords({ source }: LabPlan): string {
  if (source.kind === 'scenario') return `scenario ${source.name}`
  return `stored calls of ${source.pool}, ${formatInstant(source.fromUnixMs).text} to ${formatInstant(source.toUnixMs).text}`
}
