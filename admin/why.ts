import { type Attribution, attributeStored } from '../plugin/log/read/attribution.ts'
import { CANDIDATE_COLUMNS, type Column } from '../plugin/log/read/columns.ts'
import type { Decision, StoredCandidate } from '../plugin/log/read/decision.ts'
import { formatColumn } from './column-text.ts'
import { formatDuration, formatNumber } from './format.ts'

/** A stretch of a sentence; strong ones carry the facts. */
export interface Words {
  readonly text: string
  readonly strong: boolean
}

/** What a policy reads of a candidate, and which way it leans. A policy that is not here is explained by what differs, not by why. */
interface Rule {
  readonly says: string
  readonly reads: readonly { readonly column: string; readonly better: 'low' | 'high' }[]
}

const low = (column: string) => ({ column, better: 'low' }) as const
const high = (column: string) => ({ column, better: 'high' }) as const

const RULES: Readonly<Record<string, Rule>> = {
  random: { says: 'any instance, each as likely as its share', reads: [] },
  'round-robin': { says: 'the instances in turn', reads: [] },
  p2c: { says: 'of two instances drawn at random the one with fewer calls in flight', reads: [low('inFlight')] },
  'least-request': { says: 'the instance with the fewest calls in flight', reads: [low('inFlight')] },
  'least-request-speed': {
    says: 'the fewest calls in flight, this one included, divided by the instance’s speed and weight',
    reads: [low('inFlight'), high('speed'), high('weight')],
  },
  'least-tokens': {
    says: 'the fewest tokens waiting for prefill or guessed to follow',
    reads: [low('prefillTokensPending'), low('promptTokensInFlight')],
  },
  weighted: {
    says: 'the best weighted sum of short queue, free KV cache, cached prefix and loaded adapter',
    reads: [low('waiting'), low('kvUsage'), high('prefixMatch'), high('adapterLoaded')],
  },
}

/** Features a sentence names at most. */
const NAMED_MAX = 3

const strong = (text: string): Words => ({ text, strong: true })
const plain = (text: string): Words => ({ text, strong: false })

/** What the policy goes by, in words; undefined for one that is not known here. */
export const policyWords = (policy: string): string | undefined => RULES[policy]?.says

/** Features that decided; see `Attribution`. */
type Because = Pick<Attribution, 'changes'> & { readonly columns: readonly string[] }

/**
 * Why the call was placed where it was, as one sentence, with at most three features in which the chosen instance beat the runner-up. `because` is what the router
 * found by asking the policy itself; a rule is asked here where the router did not say.
 */
export function explain(decision: Decision, because?: Because): Words[] {
  const { call, candidates } = decision
  const [chosen] = candidates
  if (chosen === undefined && decision.instance === undefined) return [strong('Not placed'), plain(': no instance could take this call.')]
  const place = [plain('Placed on '), strong(chosen?.instance ?? decision.instance ?? '?')]
  const held = call.heldMs > 0 ? [plain(' after a hold of '), strong(formatDuration(call.heldMs) ?? '?')] : []
  return [...place, ...held, ...reasonWords(decision, because), plain('.'), ...retryWords(decision)]
}

function reasonWords(decision: Decision, because: Because | undefined): Words[] {
  const {
    call: { reason, policy },
    candidates,
  } = decision
  const [chosen, runnerUp] = candidates
  const equals = candidates.slice(1).flatMap((one) => (one.cost === chosen?.cost ? [one.instance] : []))
  if (reason === 'only candidate' || (chosen !== undefined && runnerUp === undefined))
    return [plain(', '), strong('the only instance'), plain(' that could take this call')]
  switch (reason) {
    case 'next in turn':
      return [plain(' because it was '), strong('next in turn')]
    case 'drawn at random':
      return [plain(', '), strong('drawn at random'), plain(` as ${policy} does`)]
    case 'explored':
      return [
        plain(', drawn at random '),
        strong('to explore'),
        plain(`: a small share of calls is, so that ${policy} can be compared with what it would not do`),
      ]
    case 'any reachable instance':
      return [plain(' because '), strong('no healthy instance was left'), plain(' and a troubled one is better than none')]
    case 'fallback policy':
      return [plain(' by the fallback policy '), strong(policy), plain(', since the pool’s own policy gave no answer')]
    case 'switched off':
      return [plain(' by the fallback policy '), strong(policy), plain(', since '), strong('Phasewise was switched off')]
    case 'better of two drawn':
      return [plain(', the one with '), strong('fewer calls in flight'), plain(' of two drawn at random')]
    case 'tie broken at random':
      return [
        plain(' by lot: '),
        strong(['it', ...equals].join(', ').replace(/, ([^,]*)$/, ' and $1')),
        plain(' cost the same'),
        ...costWords(chosen, runnerUp),
      ]
    default:
      return tipped(decision, because) ?? comparison(policy, chosen, runnerUp)
  }
}

/**
 * The at most three features that tipped it, found by asking the policy again: with the runner-up's values in them the choice would have been another. Undefined
 * where the policy cannot be asked.
 */
function tipped(decision: Decision, because: Because | undefined): Words[] | undefined {
  const [chosen, runnerUp] = decision.candidates
  const attribution: Because | undefined = because ?? attributeStored(decision)
  if (attribution === undefined || chosen?.features === undefined || runnerUp?.features === undefined) return undefined
  const differing = differences(chosen.features, runnerUp.features)
  const named = attribution.columns.flatMap((column) => differing.find((one) => one.column === column) ?? [])
  if (named.length === 0 || named.length < attribution.columns.length) return undefined
  const rather = [plain(' rather than '), strong(runnerUp.instance)]
  if (!attribution.changes) return [...rather, plain('; no three features decide it alone, most weighed that '), ...listed(named)]
  const leaning = RULES[decision.call.policy]?.reads ?? []
  const against = differing
    .filter(({ column, more }) => leaning.some((read) => read.column === column && (read.better === 'high') !== more))
    .filter((one) => !named.includes(one))
    .sort((a, b) => b.size - a.size)
    .slice(0, NAMED_MAX - named.length)
  const although = against.length === 0 ? [] : [plain(', although '), ...listed(against)]
  return [...rather, plain(' because '), ...listed(named), ...although]
}

function costWords(chosen: StoredCandidate | undefined, runnerUp: StoredCandidate | undefined): Words[] {
  const own = formatNumber(chosen?.cost)
  const other = formatNumber(runnerUp?.cost)
  if (own === undefined || other === undefined) return []
  return own === other ? [plain(', '), strong(own)] : [plain(', '), strong(own), plain(` against ${other}`)]
}

/** The features its policy reads in which the chosen one is better; for a policy not known here those that differ most. */
function comparison(policy: string, chosen: StoredCandidate | undefined, runnerUp: StoredCandidate | undefined): Words[] {
  const atLowest = [plain(' at the lowest cost'), ...costWords(chosen, runnerUp)]
  if (chosen?.features === undefined || runnerUp?.features === undefined) return atLowest
  const rule = RULES[policy]
  const differing = differences(chosen.features, runnerUp.features).sort((a, b) => b.size - a.size)
  if (rule === undefined) {
    if (differing.length === 0) return atLowest
    return [plain(' rather than '), strong(runnerUp.instance), plain('; what differs most: '), ...listed(differing.slice(0, NAMED_MAX))]
  }
  const leaning = (towards: boolean): Difference[] =>
    differing.filter(({ column, more }) =>
      rule.reads.some((read) => read.column === column && ((read.better === 'high') === more) === towards),
    )
  const named = leaning(true).slice(0, NAMED_MAX)
  if (named.length === 0) return atLowest
  const against = leaning(false).slice(0, NAMED_MAX - named.length)
  const although = against.length === 0 ? [] : [plain(', although '), ...listed(against)]
  return [plain(' rather than '), strong(runnerUp.instance), plain(' because '), ...listed(named), ...although]
}

const listed = (differences: readonly Difference[]): Words[] =>
  differences.flatMap(({ words }, i) => [plain(i === 0 ? '' : i === differences.length - 1 ? ' and ' : ', '), ...words])

interface Difference {
  readonly column: string
  /** The chosen one has more of it. */
  readonly more: boolean
  /** 0..1, relative to both. */
  readonly size: number
  readonly words: readonly Words[]
}

function differences(own: Float32Array, other: Float32Array): Difference[] {
  return CANDIDATE_COLUMNS.flatMap((column, i): Difference[] => {
    const a = own[i] ?? Number.NaN
    const b = other[i] ?? Number.NaN
    if (column.name === 'scrapeAge' || Number.isNaN(a) || Number.isNaN(b) || a === b) return []
    const size = Math.abs(a - b) / (Math.abs(a) + Math.abs(b))
    return [{ column: column.name, more: a > b, size, words: differenceWords(column, a, b) }]
  })
}

/** How a feature reads in the sentence: before its value, after it, and whether the other's value follows. */
const PHRASES: Readonly<Record<string, readonly [before: string, after: string]>> = {
  inFlight: ['it had ', ' calls in flight'],
  prefillTokensPending: ['it had ', ' prompt tokens waiting for prefill'],
  promptTokensInFlight: ['it had ', ' prompt tokens in flight'],
  waiting: ['', ' waited in its queue'],
  running: ['', ' ran there'],
  kvUsage: ['its KV cache was ', ' full'],
  prefixMatch: ['', ' of the prompt was cached there'],
  weight: ['its weight is ', ''],
}

function differenceWords(column: Column, a: number, b: number): Words[] {
  if (column.name === 'speed') return [plain('it is '), strong(`${formatNumber(a / b)} times as fast`)]
  if (column.name === 'adapterLoaded') return [strong(a > b ? 'its adapter was loaded there' : 'its adapter was not loaded there')]
  const [before, after] = PHRASES[column.name] ?? [`${column.label.charAt(0).toLowerCase()}${column.label.slice(1)} was `, '']
  const noun = a === 1 ? after.replace(/^ (call|prompt token)s/, ' $1') : after
  return [plain(before), strong(`${formatColumn(column, a)}${noun}`), plain(` against ${formatColumn(column, b)}`)]
}

function retryWords({ attempts }: Decision): Words[] {
  const [first] = attempts
  const last = attempts.at(-1)
  if (first === undefined || last === undefined || attempts.length < 2) return []
  const failed = attempts.slice(0, -1).map((attempt) => `${attempt.instance} (${attempt.error ?? attempt.outcome})`)
  return [
    plain(` No byte had reached the caller when ${failed.join(' and ')} failed, so it was `),
    strong(`retried on ${last.instance}`),
    plain('.'),
  ]
}
