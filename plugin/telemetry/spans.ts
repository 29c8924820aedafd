import { type Attributes, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, type Tracer, trace } from '@opentelemetry/api'
import { core } from '@opentelemetry/sdk-node'
import type { Call } from '../call/call.ts'
import type { Clock } from '../clock.ts'
import type { InstanceView } from '../fleet/instance.ts'
import type { Outcome } from '../outcome/outcome.ts'
import type { Placement } from '../placement/policy.ts'
import { errorTypeOf, genAiAttributes, operationOf, serverAttributes } from './conventions.ts'

/** W3C trace context as the caller sent it, or as the instance is to get it. */
export interface TraceHeaders {
  readonly traceparent?: string | undefined
  readonly tracestate?: string | undefined
}

export interface SpanStart extends TraceHeaders {
  readonly call: Pick<Call, 'callId' | 'api' | 'model' | 'arrivedUnixMs' | 'request'>
  readonly gateway: string
  readonly pool: string
  /** What answers: the pool's engine. */
  readonly provider: string
}

/** The span of one call, CLIENT as the GenAI conventions say of inference: the instance is its server. End it once. */
export interface CallSpan {
  /** To be sent to the instance instead of the caller's own. */
  readonly headers: TraceHeaders
  placed(placement: Omit<Placement, 'instance' | 'fallbacks'>, instance: Pick<InstanceView, 'name' | 'url'>): void
  /** A further attempt on `instance` because the one before failed with `error`. */
  retried(instance: Pick<InstanceView, 'name' | 'url'>, error: string): void
  ended(outcome: Outcome, responseModel?: string): void
  /** No placement was possible. `errorType` is a short word such as 'no_instance'. */
  refused(errorType: string): void
}

const propagator = new core.W3CTraceContextPropagator()
const getter = {
  get: (carrier: TraceHeaders, key: string) => (key === 'traceparent' || key === 'tracestate' ? carrier[key] : undefined),
  keys: () => ['traceparent', 'tracestate'],
}
const setter = {
  set(carrier: Record<string, string>, key: string, value: string) {
    carrier[key] = value
  },
}

/** Starts spans with `tracer`. Times are the call's own: arrival, and arrival plus E2E. */
export function createCallSpans(parts: { readonly tracer: Tracer; readonly clock: Clock }): (start: SpanStart) => CallSpan {
  return (start) => {
    const { call } = start
    const attributes = startAttributes(start)
    const parent = propagator.extract(ROOT_CONTEXT, start, getter) ?? ROOT_CONTEXT
    const name = `${operationOf(call.api)} ${call.model}`
    const span = parts.tracer.startSpan(name, { kind: SpanKind.CLIENT, startTime: call.arrivedUnixMs, attributes }, parent)
    const headers: Record<string, string> = {}
    propagator.inject(trace.setSpan(parent, span), headers, setter)
    return {
      headers,
      placed(placement, instance) {
        span.setAttributes({ ...placementAttributes(placement), ...instanceAttributes(instance) })
      },
      retried(instance, error) {
        span.addEvent('phasewise.retry', { 'error.type': error, ...instanceAttributes(instance) }, parts.clock.nowUnixMs())
        span.setAttributes(instanceAttributes(instance))
      },
      ended(outcome, responseModel) {
        span.setAttributes(outcomeAttributes(outcome, responseModel))
        setStatus(span, outcome)
        span.end(call.arrivedUnixMs + outcome.e2eMs)
      },
      refused(errorType) {
        span.setAttribute('error.type', errorType)
        span.setStatus({ code: SpanStatusCode.ERROR, message: errorType })
        span.end(parts.clock.nowUnixMs())
      },
    }
  }
}

function startAttributes({ call, gateway, pool, provider }: SpanStart): Attributes {
  return {
    ...genAiAttributes({ call, provider }),
    'phasewise.call.id': call.callId,
    'phasewise.gateway': gateway,
    'phasewise.pool': pool,
    ...(call.request.maxTokens === undefined ? {} : { 'gen_ai.request.max_tokens': call.request.maxTokens }),
    ...(call.request.temperature === undefined ? {} : { 'gen_ai.request.temperature': call.request.temperature }),
  }
}

function placementAttributes(placement: Omit<Placement, 'instance' | 'fallbacks'>): Attributes {
  return {
    'phasewise.policy': placement.policy,
    'phasewise.policy.version': placement.policyVersion,
    'phasewise.length.version': placement.lengthVersion,
    'phasewise.reason': placement.reason,
    'phasewise.propensity': placement.propensity,
    'phasewise.explored': placement.explored,
  }
}

function instanceAttributes(instance: Pick<InstanceView, 'name' | 'url'>): Attributes {
  return { 'phasewise.instance': instance.name, ...serverAttributes(instance) }
}

function outcomeAttributes(outcome: Outcome, responseModel: string | undefined): Attributes {
  const errorType = errorTypeOf(outcome)
  return {
    'phasewise.outcome': outcome.kind,
    ...(errorType === undefined ? {} : { 'error.type': errorType }),
    ...(responseModel === undefined ? {} : { 'gen_ai.response.model': responseModel }),
    ...(outcome.promptTokens === undefined ? {} : { 'gen_ai.usage.input_tokens': outcome.promptTokens }),
    ...(outcome.outputTokens === undefined ? {} : { 'gen_ai.usage.output_tokens': outcome.outputTokens }),
    ...(outcome.finishReason === undefined ? {} : { 'gen_ai.response.finish_reasons': [outcome.finishReason] }),
    ...(outcome.ttftMs === undefined ? {} : { 'gen_ai.response.time_to_first_chunk': outcome.ttftMs / 1_000 }),
  }
}

/** A caller who leaves has not met an error of ours: the status stays unset. */
function setStatus(span: Span, outcome: Outcome): void {
  if (outcome.kind === 'completed' || outcome.kind === 'client gone') return
  span.setStatus({ code: SpanStatusCode.ERROR, message: outcome.error ?? outcome.kind })
}
