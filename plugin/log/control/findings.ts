import type { Finding } from '../rows.ts'
import type { Door } from './door.ts'
import { forgetInstanceChange, rememberInstanceChange } from './instance-changes.ts'
import { endTrial, TRIAL_RUNNER } from './trials.ts'

const AUDIT = 'INSERT INTO audit (at_unix_ms, who, address, action, subject, before, after) VALUES (?, ?, ?, ?, ?, ?, ?)'
const NOTICE = 'INSERT INTO notice (at_unix_ms, tone, text, href) VALUES (?, ?, ?, ?)'

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
  door.run(AUDIT, [nowUnixMs, TRIAL_RUNNER, '', kind, `${pool} / ${instance}`, null, words])
  door.run(NOTICE, [nowUnixMs, isOver ? 'good' : 'warn', text, '/fleet'])
}
