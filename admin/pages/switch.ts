import { readRouterNow } from '../../plugin/log/read/now.ts'
import type { Answer, Visit } from '../answer.ts'
import type { LineAnswer } from '../router-line.ts'
import type { PageParts } from '../routes.ts'

/** Asks whether it is meant, and tells what it does. */
export function confirmSwitch(parts: PageParts, visit: Visit): Answer {
  const off = visit.query.to !== 'on'
  const pools = parts.reader.read(readRouterNow)?.pools ?? []
  return {
    kind: 'page',
    view: 'switch',
    title: off ? 'Switch Phasewise off?' : 'Switch Phasewise on?',
    model: { off, pools: pools.map(({ name, policy }) => ({ name, policy })) },
  }
}

/** Turns the kill switch: the router is asked directly first, then what was done is written down. Either way alone is enough. */
export async function turnSwitch(parts: PageParts, visit: Visit): Promise<Answer> {
  const { to } = visit.form
  if (to !== 'off' && to !== 'on')
    return { kind: 'problem', status: 404, title: 'No such position', text: 'The switch is off or on. Nothing was changed.' }
  const off = to === 'off'
  const answer = await parts.line.ask({ method: 'PUT', path: '/v1/switch', body: { off } })
  const recorded = record(parts, visit, off)
  const obeyed = answer.kind === 'answered' && answer.status === 200
  if (!obeyed && !recorded)
    return {
      kind: 'problem',
      status: 503,
      title: off ? 'Not switched off' : 'Not switched on',
      text: `The router did not answer (${reason(answer)}), and the wish could not be written down either. Nothing was changed. Callers are served as before.`,
    }
  return { kind: 'see other', to: `/?switched=${off ? 'off' : 'on'}${obeyed ? '' : '&by=record'}${recorded ? '' : '&unrecorded=1'}` }
}

const reason = (answer: LineAnswer): string => (answer.kind === 'unreachable' ? answer.why : `HTTP ${answer.status}`)

/** The intent, which also reaches a router that could not be asked, and outlasts its restart; false where the disk does not take it. */
function record({ control }: PageParts, visit: Visit, off: boolean): boolean {
  const who = visit.user?.name ?? 'nobody'
  const kind = off ? 'switch off' : 'switch on'
  try {
    control.together(() => {
      control.audit.append({
        who,
        address: visit.address,
        action: kind,
        subject: 'all pools',
        before: off ? 'on' : 'off',
        after: off ? 'off' : 'on',
      })
      control.intents.append({ kind, subject: null, askedBy: who })
    })
    return true
  } catch {
    // Told on the page that follows.
    return false
  }
}

/** What the page after a turn says; undefined where nobody just turned it. */
export function switchNotice({ query }: Visit): { readonly tone: string; readonly text: string } | undefined {
  const { switched } = query
  if (switched !== 'off' && switched !== 'on') return undefined
  const done =
    switched === 'off'
      ? 'Switched off: every pool is placed by its fallback policy.'
      : 'Switched on: every pool is placed by its own policy again.'
  if (query.by === 'record')
    return { tone: 'warn', text: `The router could not be reached. It switches ${switched} as soon as it reads what was asked.` }
  if (query.unrecorded === undefined) return { tone: 'good', text: done }
  return {
    tone: 'warn',
    text: `${done} It could not be written down: after a restart of the router it would be forgotten. Look at the disk.`,
  }
}
