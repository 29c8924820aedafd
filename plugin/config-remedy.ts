import type { z } from 'zod'

const TYPES: Readonly<Record<string, string>> = {
  object: 'keys of its own below it',
  array: 'a list',
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
}

/** What is allowed where a schema has no sentence of its own, in the words of the file instead of the parser's; undefined leaves it to the parser. */
export function allowedWords(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code === 'invalid_type') return TYPES[issue.expected] && `allowed is ${TYPES[issue.expected]}`
  if (issue.code === 'invalid_value') return `allowed is ${issue.values.map(String).join(' or ')}`
  if (issue.code !== 'too_small' && issue.code !== 'too_big') return undefined
  const limit = issue.code === 'too_small' ? issue.minimum : issue.maximum
  const side = issue.code === 'too_small' ? 'or more' : 'at most'
  const bound = issue.inclusive === false ? `${issue.code === 'too_small' ? 'above' : 'below'} ${limit}` : undefined
  const things = { string: ' characters', array: ' entries' }[issue.origin as string] ?? ''
  return `allowed is ${bound ?? (issue.code === 'too_small' ? `${limit}${things} ${side}` : `${side} ${limit}${things}`)}`
}
