import type { Attributes } from '@opentelemetry/api'
import {
  defaultResource,
  detectResources,
  emptyResource,
  envDetector,
  type Resource,
  resourceFromAttributes,
} from '@opentelemetry/resources'
import type { MetricProducer } from '@opentelemetry/sdk-metrics'
import type { Clock } from '../clock.ts'
import { createCallMetrics, type SettledCall } from './call-metrics.ts'
import { LOOP, type MetricDefinition, READINGS, type ReadingName } from './metrics.ts'
import type { Otlp } from './otlp.ts'
import { type MetricsPage, openMetricsPage } from './prometheus.ts'
import { type CounterCell, SeriesTable } from './series.ts'
import type { CallSpan, SpanStart } from './spans.ts'

/** What the rest of the plugin may tell. Nothing here throws or waits, except `close`. */
export interface Telemetry {
  /** Books a settled call: the GenAI histograms and the loop's counters. */
  callSettled(settled: SettledCall): void
  /** Counts something lost, by a short word for what: phasewise.lost. */
  count(what: string, by?: number): void
  /** Registers what is read whenever somebody looks: ledgers, queues, states. */
  observe(read: () => Iterable<Reading>): void
  /**
   * Starts the span of a call; absent where no traces are sent, and the caller's own headers then go to the instance untouched.
   * Call it as `telemetry.startCall?.({ … })`: without traces not even the argument is made.
   */
  readonly startCall?: (start: SpanStart) => CallSpan
  /** Where the Prometheus text is; absent where it is off. */
  readonly metricsUrl?: string
  /** Sends what is left and frees the port. */
  close(): Promise<void>
}

/** One value read now. Counters (`logDropped`, `logWritten`) tell their total since the process started. */
export interface Reading {
  readonly name: ReadingName
  readonly value: number
  readonly pool?: string
  readonly instance?: string
  readonly state?: string
}

export interface TelemetryParts {
  /** Where the Prometheus text is served; undefined is off. */
  readonly metricsListen: { readonly host: string; readonly port: number } | undefined
  /** An OTLP endpoint is set in the environment. */
  readonly otlp: boolean
  readonly version: string
  readonly clock: Clock
}

/** Tells nobody, at the cost of an empty call. */
export const silentTelemetry: Telemetry = {
  callSettled: () => undefined,
  count: () => undefined,
  observe: () => undefined,
  close: async () => undefined,
}

/** Opens what is asked for. Throws where the metrics port cannot be listened on, saying which key to change. */
export async function createTelemetry(parts: TelemetryParts): Promise<Telemetry> {
  const { metricsListen, clock } = parts
  if (!metricsListen && !parts.otlp) return silentTelemetry
  const table = new SeriesTable(clock.nowUnixMs())
  const readers: (() => Iterable<Reading>)[] = []
  const count = createLossCounter(table)
  const producer = createProducer({ table, readers, clock, count })
  const resource = describeService(parts.version)
  const page = metricsListen ? await openMetricsPage({ listen: metricsListen, producer, resource }) : undefined
  const otlp = parts.otlp
    ? await (await import('./otlp.ts')).openOtlp({
        producer,
        resource,
        version: parts.version,
        clock,
        onFailure: () => count('telemetry export'),
      })
    : undefined
  return {
    callSettled: createCallMetrics(table),
    count,
    observe: (read) => {
      readers.push(read)
    },
    ...(otlp?.startCall ? { startCall: otlp.startCall } : {}),
    ...(page ? { metricsUrl: page.url } : {}),
    close: () => closeAll(page, otlp),
  }
}

async function closeAll(page: MetricsPage | undefined, otlp: Otlp | undefined): Promise<void> {
  await Promise.all([page?.close(), otlp?.close()])
}

function createLossCounter(table: SeriesTable): (what: string, by?: number) => void {
  const counters = new Map<string, CounterCell>()
  return (what, by = 1) => {
    let counter = counters.get(what)
    if (!counter) {
      counter = table.counter(LOOP.lost, { 'phasewise.what': what })
      counters.set(what, counter)
    }
    counter.add(by)
  }
}

interface ProducerParts {
  readonly table: SeriesTable
  readonly readers: readonly (() => Iterable<Reading>)[]
  readonly clock: Clock
  readonly count: (what: string) => void
}

/** What OpenTelemetry's readers ask: booked cells and values read now. A reading that throws is counted; the others still arrive. */
function createProducer({ table, readers, clock, count }: ProducerParts): MetricProducer {
  return {
    async collect() {
      const errors: unknown[] = []
      const read: { definition: MetricDefinition; attributes: Attributes; value: number }[] = []
      for (const reader of readers)
        try {
          for (const reading of reader())
            if (!Number.isNaN(reading.value))
              read.push({ definition: READINGS[reading.name], attributes: readingAttributes(reading), value: reading.value })
        } catch (error) {
          count('telemetry reading')
          errors.push(error)
        }
      const nowUnixMs = clock.nowUnixMs()
      const data = [...table.collect(nowUnixMs), ...table.readings(read, nowUnixMs)]
      return { resourceMetrics: { resource: emptyResource(), scopeMetrics: [{ scope: { name: 'phasewise' }, metrics: data }] }, errors }
    },
  }
}

function readingAttributes({ pool, instance, state }: Reading): Attributes {
  return {
    ...(pool === undefined ? {} : { 'phasewise.pool': pool }),
    ...(instance === undefined ? {} : { 'phasewise.instance': instance }),
    ...(state === undefined ? {} : { 'phasewise.state': state }),
  }
}

/** service.name is 'phasewise' unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES says otherwise. */
function describeService(version: string): Resource {
  return defaultResource()
    .merge(resourceFromAttributes({ 'service.name': 'phasewise', 'service.version': version }))
    .merge(detectResources({ detectors: [envDetector] }))
}
