import type { Outcome } from '../../outcome/outcome.ts'
import type { AttemptFailure } from '../../router.ts'
import type { FailureReport, OutcomeReport } from './schemas.ts'

/** What a caller tells of a call's end, in the router's words. */

/** A failed attempt. */
export function failureOf(report: FailureReport): AttemptFailure {
  const { kind, status, error } = report
  return { kind, error: error ?? causeOf(report), ...(status === undefined ? {} : { status }) }
}

/** `elapsedMs`: since the placement was asked for, where the caller measured nothing itself. */
export function outcomeOf(report: OutcomeReport, elapsedMs: number): Outcome {
  const { kind, status, ttftMs, promptTokens, cachedPromptTokens, outputTokens, finishReason } = report
  const e2eMs = report.e2eMs ?? elapsedMs
  const error = kind === 'completed' ? undefined : errorIn(report)
  const tpotMs = report.tpotMs ?? tpotOf({ ttftMs, e2eMs, outputTokens })
  const failedStatus = status ?? report.failure?.status
  return {
    kind,
    e2eMs,
    censored: report.censored ?? (kind !== 'completed' || finishReason === 'length'),
    ...(error === undefined ? {} : { error }),
    ...(failedStatus === undefined ? {} : { status: failedStatus }),
    // Clocks of two machines may disagree by a little: the first token never comes after the last byte (I9).
    ...(ttftMs === undefined ? {} : { ttftMs: Math.min(ttftMs, e2eMs) }),
    ...(tpotMs === undefined ? {} : { tpotMs }),
    ...(promptTokens === undefined ? {} : { promptTokens }),
    ...(cachedPromptTokens === undefined ? {} : { cachedPromptTokens }),
    ...(outputTokens === undefined ? {} : { outputTokens }),
    ...(promptTokens === undefined && outputTokens === undefined ? {} : { tokensFrom: report.tokensFrom ?? 'usage' }),
    ...(finishReason === undefined ? {} : { finishReason }),
  }
}

/** A placement whose end nobody told. */
export function unknownOutcome(error: string, elapsedMs: number): Outcome {
  return { kind: 'unknown', error, e2eMs: elapsedMs, censored: true }
}

/** A placement given up before anything was sent, or while it ran. */
export function leftOutcome(elapsedMs: number): Outcome {
  return { kind: 'client gone', error: 'left', e2eMs: elapsedMs, censored: true }
}

function errorIn(report: OutcomeReport): string {
  if (report.failure) return causeOf(report.failure)
  if (report.error !== undefined) return report.error
  return report.status === undefined ? report.kind : `status ${report.status}`
}

/** The words that `Outcome.error` is read by. */
function causeOf({ kind, status }: FailureReport): string {
  if (kind !== 'status') return kind
  return status === undefined ? 'status 500' : `status ${status}`
}

function tpotOf(given: {
  readonly ttftMs: number | undefined
  readonly e2eMs: number
  readonly outputTokens: number | undefined
}): number | undefined {
  const { ttftMs, e2eMs, outputTokens } = given
  if (ttftMs === undefined || outputTokens === undefined || outputTokens < 2 || e2eMs < ttftMs) return undefined
  return (e2eMs - ttftMs) / (outputTokens - 1)
}
