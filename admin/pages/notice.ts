import type { Model, Visit } from '../answer.ts'

/** What a POST came to, told on the page after it: the address names one of these words, never the text itself. */
const NOTICES: Readonly<Record<string, { readonly tone: 'good' | 'warn' | 'bad'; readonly text: string }>> = {
  password: { tone: 'good', text: 'Your password is changed. Your other sessions have ended.' },
  ended: { tone: 'good', text: 'The session has ended.' },
  'ended-others': { tone: 'good', text: 'Your other sessions have ended.' },
  'ended-all': { tone: 'good', text: 'All sessions of this person have ended.' },
  role: { tone: 'good', text: 'The role is changed, and counts from now on.' },
  removed: { tone: 'good', text: 'The person is removed, and all their sessions have ended.' },
  revoked: { tone: 'good', text: 'The key is revoked: the router refuses it within seconds.' },
  saved: { tone: 'good', text: 'Saved.' },
  same: { tone: 'warn', text: 'Nothing was changed: all is as it was.' },
}

/** The notice that the address names. */
export function noticeOf({ query }: Visit): Model | undefined {
  const name = query.done ?? ''
  return Object.hasOwn(NOTICES, name) ? NOTICES[name] : undefined
}
