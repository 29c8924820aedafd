import type { MeterParts, StreamMeter } from '../../outcome/meter.ts'
import type { Outcome, OutcomeKind } from '../../outcome/outcome.ts'
import { Metering } from '../openai/metering.ts'
import type { HeaderBag } from './messages.ts'

export interface AnsweringParts extends MeterParts {
  readonly count: (what: string) => void
  readonly createMeter?: (parts: MeterParts) => StreamMeter
}

/** This much of an error that Envoy tells itself is read for its cause. */
const CAUSE_CHARS_MAX = 512

/**
 * One response on its way through Envoy: metered, and told apart from what Envoy answers itself when it cannot reach the instance. Bytes
 * flow from the start: there is no second try once Envoy has an answer.
 */
export class Answering {
  readonly #parts: AnsweringParts
  readonly #meter: Metering
  #status = 0
  #isEnvoys = false
  #cause = ''

  constructor(parts: AnsweringParts) {
    this.#parts = parts
    this.#meter = new Metering(parts)
  }

  get firstTokenMs(): number | undefined {
    return this.#meter.firstTokenMs
  }
  get outputTokens(): number {
    return this.#meter.outputTokens
  }

  head(headers: HeaderBag): void {
    this.#status = Number(headers[':status']) || 0
    const contentType = headers['content-type']
    const contentEncoding = headers['content-encoding']
    if (contentEncoding !== undefined && contentEncoding !== 'identity') this.#parts.count('encoded answer not metered')
    // Envoy's router marks what an instance answered.
    this.#isEnvoys = headers['x-envoy-upstream-service-time'] === undefined && (contentType?.startsWith('text/plain') ?? true)
    this.#meter.head({ status: this.#status, contentType, contentEncoding })
    this.#meter.release()
  }

  take(bytes: Buffer, nowMs: number): Buffer {
    if (this.#status >= 500 && this.#isEnvoys && this.#cause.length < CAUSE_CHARS_MAX)
      this.#cause += bytes.toString('latin1', 0, CAUSE_CHARS_MAX)
    return this.#meter.take(bytes, nowMs)
  }

  end(nowMs: number): { readonly bytes: Buffer; readonly outcome: Outcome } {
    const { bytes, outcome } = this.#meter.end(nowMs)
    return { bytes, outcome: this.#judged(outcome) }
  }

  failed(ending: { readonly kind: Exclude<OutcomeKind, 'completed'>; readonly error: string }, nowMs: number): Outcome {
    return this.#meter.failed(ending, nowMs)
  }

  /** In the words of `Outcome.error`: Envoy's own 503 and 504 are no answer of the instance, an instance's 503 says that it is full. */
  #judged(outcome: Outcome): Outcome {
    if (outcome.kind !== 'instance error') return outcome
    const { status, ...rest } = outcome
    const told = this.#isEnvoys ? causeOf(this.#cause) : undefined
    if (told) return { ...rest, kind: told === 'timed out' ? 'timed out' : 'instance error', error: told }
    return status === 503 ? { ...outcome, error: 'full (status 503)' } : outcome
  }
}

/** What Envoy says went wrong between it and the instance (its local replies, source/common/router). */
function causeOf(text: string): 'connect' | 'reset' | 'timed out' | undefined {
  if (text.startsWith('upstream request timeout')) return 'timed out'
  if (/remote connection failure|local connection failure|connection failure|no healthy upstream|connection timeout/.test(text))
    return 'connect'
  return /reset reason|upstream connect error/.test(text) ? 'reset' : undefined
}
