import type { Dispatcher } from 'undici'
import type { Clock } from '../clock.ts'
import { SseMeter } from './sse-meter.ts'

export interface OutgoingCall {
  readonly origin: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Keep the text of the answer. */
  readonly keepText?: boolean
  readonly signal?: AbortSignal
}

/** How a call went, as its sender saw it. */
export interface MeasuredCall {
  readonly ok: boolean
  readonly status?: number
  /** Why it failed, short and countable, e.g. 'status 503', 'ECONNREFUSED', 'broke off', 'engine error', 'aborted'. */
  readonly failure?: string
  /** Streams only: from sending to the first token. */
  readonly ttftMs?: number
  /** Streams only: mean time per token after the first; undefined below two tokens. */
  readonly tpotMs?: number
  /** From sending to the last byte. */
  readonly e2eMs: number
  /** As usage tells, else the tokens counted in the stream. */
  readonly outputTokens: number
  /** Who served it, where the reply says so (`x-phasewise-instance`). */
  readonly instance?: string
  readonly text?: string
}

/** Sends one call and meters it. Never rejects: a failure is a value. */
export function sendCall(call: OutgoingCall, parts: { readonly dispatcher: Dispatcher; readonly clock: Clock }): Promise<MeasuredCall> {
  const { clock } = parts
  const sentMs = clock.nowMs()
  return new Promise((resolve) => {
    let status: number | undefined
    let instance: string | undefined
    let meter: SseMeter | undefined
    const chunks: Buffer[] = []
    let unlisten = (): void => undefined
    const finish = (transportFailure?: string): void => {
      unlisten()
      const e2eMs = clock.nowMs() - sentMs
      const whole = meter ? undefined : readWhole(Buffer.concat(chunks).toString('utf8'))
      const failure = transportFailure ?? (status !== 200 ? `status ${status}` : (meter?.failure() ?? whole?.failure))
      const text = call.keepText ? (meter?.text ?? whole?.text) : undefined
      resolve({
        ok: failure === undefined,
        e2eMs,
        outputTokens: meter?.outputTokens ?? whole?.outputTokens ?? 0,
        ...(status === undefined ? {} : { status }),
        ...(failure === undefined ? {} : { failure }),
        ...(meter?.firstMs === undefined ? {} : { ttftMs: meter.firstMs - sentMs }),
        ...(meter?.tpotMs === undefined ? {} : { tpotMs: meter.tpotMs }),
        ...(instance === undefined ? {} : { instance }),
        ...(text === undefined ? {} : { text }),
      })
    }
    parts.dispatcher.dispatch(
      { origin: call.origin, path: call.path, method: 'POST', headers: call.headers, body: call.body },
      {
        onRequestStart(controller) {
          const leave = (): void => controller.abort(new Error('aborted'))
          if (call.signal?.aborted) leave()
          call.signal?.addEventListener('abort', leave, { once: true })
          unlisten = () => call.signal?.removeEventListener('abort', leave)
        },
        onResponseStart(_controller, statusCode, headers) {
          status = statusCode
          instance = oneHeader(headers['x-phasewise-instance'])
          if (oneHeader(headers['content-type'])?.startsWith('text/event-stream'))
            meter = new SseMeter({ keepText: call.keepText === true })
        },
        onResponseData(_controller, chunk) {
          if (meter) meter.push(chunk, clock.nowMs())
          else chunks.push(chunk)
        },
        onResponseEnd: () => finish(),
        onResponseError: (_controller, error) => finish(failureOf(error)),
      },
    )
  })
}

function oneHeader(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0]
}

function failureOf(error: Error): string {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined
  if (error.message === 'aborted') return 'aborted'
  if (code === 'UND_ERR_SOCKET' || code === 'ECONNRESET') return 'broke off'
  return code ?? error.message
}

interface Whole {
  readonly outputTokens: number
  readonly text: string
  readonly failure?: string
}

function readWhole(body: string): Whole | undefined {
  try {
    const reply = JSON.parse(body) as WholeBody
    const choice = reply.choices?.[0]
    return {
      outputTokens: reply.usage?.completion_tokens ?? 0,
      text: choice?.message?.content ?? choice?.text ?? '',
      ...(choice?.finish_reason === 'abort' ? { failure: 'finish abort' } : {}),
    }
  } catch (cause) {
    if (cause instanceof SyntaxError) return { outputTokens: 0, text: '', failure: 'no JSON' }
    throw cause
  }
}

interface WholeBody {
  readonly usage?: { readonly completion_tokens?: number }
  readonly choices?: readonly {
    readonly message?: { readonly content?: string | null }
    readonly text?: string
    readonly finish_reason?: string
  }[]
}
