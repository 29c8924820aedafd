import { context, DiagLogLevel, diag, metrics, propagation, trace } from '@opentelemetry/api'
import type { Resource } from '@opentelemetry/resources'
import { type IMetricReader, type MetricProducer, PeriodicExportingMetricReader, type PushMetricExporter } from '@opentelemetry/sdk-metrics'
import { core, NodeSDK } from '@opentelemetry/sdk-node'
import type { Clock } from '../clock.ts'
import { type CallSpan, createCallSpans, type SpanStart } from './spans.ts'

/**
 * OTLP as the standard OTEL_* variables ask for it; the SDK reads them itself. Only loaded where an endpoint is set: the SDK costs
 * 0.25 s and 20 MB to load.
 */
export interface Otlp {
  /** Absent where no endpoint takes traces. */
  readonly startCall?: (start: SpanStart) => CallSpan
  /** Sends what is left, then gives the globals back. */
  close(): Promise<void>
}

export interface OtlpParts {
  readonly producer: MetricProducer
  readonly resource: Resource
  readonly version: string
  readonly clock: Clock
  /** Told of each thing the SDK could not send. */
  readonly onFailure: (what: string) => void
}

/** A collector that does not answer holds up the process's end no longer than this. Chosen: a fifth of the 10 s a stop may take. */
const CLOSE_MAX_MS = 2_000

/** Starts the exporters, or gives undefined where OTEL_SDK_DISABLED says so. */
export async function openOtlp(parts: OtlpParts): Promise<Otlp | undefined> {
  if (core.getBooleanFromEnv('OTEL_SDK_DISABLED')) return undefined
  listenToDiagnostics(parts.onFailure)
  const traces = isWanted('TRACES')
  const sdk = new NodeSDK({
    resource: parts.resource,
    autoDetectResources: false,
    textMapPropagator: null,
    metricReaders: isWanted('METRICS') ? [await createMetricReader(parts.producer)] : [],
    logRecordProcessors: [],
    ...(traces ? {} : { spanProcessors: [] }),
  })
  sdk.start()
  const tracer = trace.getTracer('phasewise', parts.version)
  return {
    ...(traces ? { startCall: createCallSpans({ tracer, clock: parts.clock }) } : {}),
    async close() {
      const sent = sdk.shutdown().catch(() => parts.onFailure('shutdown'))
      const late = new Promise<void>((resolve) => setTimeout(resolve, CLOSE_MAX_MS).unref())
      await Promise.race([sent, late])
      for (const api of [trace, metrics, context, propagation, diag]) api.disable()
    },
  }
}

/** The SDK tells its losses only to its diagnostics logger; OTEL_LOG_LEVEL puts the SDK's own console logger in our place. */
function listenToDiagnostics(onFailure: (what: string) => void): void {
  const ignore = (): void => undefined
  diag.setLogger({ error: onFailure, warn: onFailure, info: ignore, debug: ignore, verbose: ignore }, DiagLogLevel.WARN)
}

/** A signal is sent where its own or the general endpoint is set and its exporter is not 'none'. */
function isWanted(signal: 'TRACES' | 'METRICS'): boolean {
  const endpoint = core.getStringFromEnv(`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`) ?? core.getStringFromEnv('OTEL_EXPORTER_OTLP_ENDPOINT')
  return endpoint !== undefined && core.getStringFromEnv(`OTEL_${signal}_EXPORTER`) !== 'none'
}

/** The specification's defaults: every 60 s, given up after 30 s. */
async function createMetricReader(producer: MetricProducer): Promise<IMetricReader> {
  const intervalMs = core.getNumberFromEnv('OTEL_METRIC_EXPORT_INTERVAL') ?? 60_000
  return new PeriodicExportingMetricReader({
    exporter: await createMetricExporter(),
    exportIntervalMillis: intervalMs,
    exportTimeoutMillis: Math.min(intervalMs, core.getNumberFromEnv('OTEL_METRIC_EXPORT_TIMEOUT') ?? 30_000),
    metricProducers: [producer],
  })
}

async function createMetricExporter(): Promise<PushMetricExporter> {
  const protocol = core.getStringFromEnv('OTEL_EXPORTER_OTLP_METRICS_PROTOCOL') ?? core.getStringFromEnv('OTEL_EXPORTER_OTLP_PROTOCOL')
  switch (protocol) {
    case 'grpc':
      return new (await import('@opentelemetry/exporter-metrics-otlp-grpc')).OTLPMetricExporter()
    case 'http/json':
      return new (await import('@opentelemetry/exporter-metrics-otlp-http')).OTLPMetricExporter()
    default:
      return new (await import('@opentelemetry/exporter-metrics-otlp-proto')).OTLPMetricExporter()
  }
}
