import { SET_ASIDE, type SetAsideSubject, TAKE_UP } from '../../../plugin/log/control/set-aside.ts'
import type { Control } from '../../../plugin/log/control.ts'
import type { Answer, Model, Visit } from '../../answer.ts'
import { formatCount, formatInstant, formatNumber, formatPercent } from '../../format.ts'
import { waitForAnswer } from '../../intents.ts'
import type { PageParts } from '../../routes.ts'
import { parsedObject } from './numbers.ts'

const DAYS_SHOWN = 14
const LEVELS = {
  none: { text: 'as learned', tone: 'good' },
  watch: { text: 'moves', tone: 'warn' },
  alarm: { text: 'alarm', tone: 'bad' },
} as const
/** Reasons are kept for ever: a sentence, not a story. */
const WHY_CHARS_MAX = 300

/** What was found of the last days, and whether the learned policy decides. */
export function driftModel(control: Control, mayAct: boolean): Model {
  const aside = control.setAside()
  const days = control.drift.days({ limit: DAYS_SHOWN })
  return {
    aside: aside && { why: aside.why, by: aside.by, rule: aside.rule, at: formatInstant(aside.sinceUnixMs) },
    subject: days[0] && (days[0].subject === 'shipped' ? 'the shipped policy' : days[0].subject),
    days: days.map((day) => {
      const figures = parsedObject(day.numbers)
      return {
        day: new Date(day.dayUnixMs).toISOString().slice(0, 10),
        subject: day.subject,
        calls: formatCount(day.calls),
        level: LEVELS[day.level],
        e2e: factor(figures.e2eShift),
        length: factor(figures.lengthShift),
        inside: typeof figures.coverage80 === 'number' ? formatPercent(figures.coverage80) : undefined,
        words: day.words,
      }
    }),
    mayTakeUp: mayAct && aside !== undefined,
    maySetAside: mayAct && aside === undefined && control.models.withAlias('policy', 'champion') !== undefined,
  }
}

/** A shift in ln as a factor. */
const factor = (ln: unknown): string | undefined => (typeof ln === 'number' ? `× ${formatNumber(Math.exp(ln))}` : undefined)

/** Asks the router to set the learned policy aside, or to take it up again. */
export async function turnLearned(parts: PageParts, visit: Visit): Promise<Answer> {
  const { control } = parts
  const kind = visit.form.kind === TAKE_UP ? TAKE_UP : SET_ASIDE
  const subject: SetAsideSubject = { why: (visit.form.why || 'no reason given').slice(0, WHY_CHARS_MAX) }
  const intentId = control.intents.append({ kind, subject, askedBy: visit.user?.name ?? 'nobody' })
  await waitForAnswer(control, intentId)
  return { kind: 'see other', to: `/models?asked=${intentId}#drift` }
}
