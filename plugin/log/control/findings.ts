import type { Finding } from '../rows.ts'
import { addAudit } from './audit.ts'
import type { Door } from './door.ts'
import { forgetInstanceChange, rememberInstanceChange } from './instance-changes.ts'
import { addNotice } from './notices.ts'
import { endTrial, TRIAL_RUNNER } from './trials.ts'

/** Keeps what the router found, with audit row and notice, in one transaction. */
export function keepFinding(door: Door, finding: Finding, nowUnixMs: number): void {
  door.together(() => {
    if (finding.kind === 'trial over') endTrial(door, { ...finding, by: TRIAL_RUNNER }, nowUnixMs)
    else keepChange(door, finding, nowUnixMs)
  })
}

function keepChange(door: Door, finding: Exclude<Finding, { kind: 'trial over' }>, nowUnixMs: number): void {
  const { kind, pool, instance, words } = finding
  const isOver = kind === 'change over'
  if (isOver) {
    if (!forgetInstanceChange(door, finding)) return
  } else rememberInstanceChange(door, finding)
  const text = `${instance} of pool ${pool}: ${words}`
  addAudit(door, { who: TRIAL_RUNNER, address: '', action: kind, subject: `${pool} / ${instance}`, after: words }, nowUnixMs)
  addNotice(door, { tone: isOver ? 'good' : 'warn', text, href: '/fleet' }, nowUnixMs)
}
