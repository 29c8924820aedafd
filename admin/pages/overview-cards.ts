import type { Answer, Model, Visit } from '../answer.ts'
import { formatCount, formatDuration, formatInstant } from '../format.ts'
import type { PageParts } from '../routes.ts'
import { KINDS } from './models/kinds.ts'
import { parsedObject } from './models/numbers.ts'
import { runTone } from './tone.ts'

/** Notices that nobody closed, newest first. */
export function noticesModel({ control }: PageParts, mayClose: boolean): Model[] {
  return control.notices.open().map(({ noticeId, atUnixMs, tone, text, href }) => ({
    id: noticeId,
    tone,
    text,
    href: href ?? undefined,
    at: formatInstant(atUnixMs),
    mayClose,
  }))
}

/** Closes a notice for everybody. */
export function closeNotice({ control }: PageParts, visit: Visit): Answer {
  const id = Number(visit.params.noticeId)
  const who = visit.user?.name ?? 'nobody'
  if (!control.notices.close(id, who))
    return {
      kind: 'problem',
      status: 404,
      title: 'No such notice',
      text: 'It was closed before, or there never was one. Nothing was changed.',
    }
  control.audit.append({ who, address: visit.address, action: 'close notice', subject: `notice ${id}` })
  return { kind: 'see other', to: '/' }
}

/** What serves of each kind, and what the last night did. */
export function learningModel({ control }: PageParts, nowUnixMs: number): Model {
  const [run] = control.trainingRuns.list({ limit: 1 })
  const trial = control.trials.running()
  const tried = new Set([trial?.lengthModelId, trial?.policyModelId, trial?.profileModelId])
  return {
    serving: KINDS.map(({ kind, name, ships }) => {
      const champion = control.models.withAlias(kind, 'champion')
      const challenger = control.models.withAlias(kind, 'challenger')
      return {
        name,
        text: champion?.version ?? ships,
        href: champion ? `/models/${champion.modelId}` : `/models#${kind}`,
        challenger: challenger && {
          href: `/models/${challenger.modelId}`,
          text: tried.has(challenger.modelId) ? `${trial?.mode}` : 'challenger',
        },
      }
    }),
    run: run && {
      href: `/training/${run.runId}`,
      at: formatInstant(run.startedUnixMs ?? run.askedUnixMs),
      state: { text: run.state, tone: runTone(run.state) },
      took: run.startedUnixMs === null ? undefined : formatDuration((run.endedUnixMs ?? nowUnixMs) - run.startedUnixMs),
      used: formatCount(Number(parsedObject(run.detail).used ?? Number.NaN)),
      error: run.error ?? undefined,
    },
  }
}
