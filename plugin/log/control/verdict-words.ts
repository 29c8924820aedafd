/** Words that verdicts are written in and read by: whoever writes one of them and whoever shows it say the same. */

/** How a gain is said where the night's objective was calls in time. */
export const FEWER_LATE = 'fewer calls late'

/** With what the words begin where a version may not be promoted. */
export const NOT_PROMOTED = 'not promoted: '

/** What decided; a verdict's other clauses follow it. */
export const firstClause = (words: string): string => words.split(';')[0] as string

/** The words beside a tag that says already whether it passed. */
export const withoutOutcome = (words: string): string => (words.startsWith(NOT_PROMOTED) ? words.slice(NOT_PROMOTED.length) : words)
