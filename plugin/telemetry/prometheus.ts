import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import type { Resource } from '@opentelemetry/resources'
import { MeterProvider, type MetricProducer } from '@opentelemetry/sdk-metrics'

export interface MetricsPage {
  /** The address that answers, with the port that was really taken. */
  readonly url: string
  close(): Promise<void>
}

export interface MetricsPageParts {
  readonly listen: { readonly host: string; readonly port: number }
  readonly producer: MetricProducer
  readonly resource: Resource
}

/**
 * Prometheus text at /metrics on its own port. The exporter's own server would keep a port already in use to itself; ours says
 * which key to change. Throws where it cannot listen, with the socket's error as `cause`.
 */
export async function openMetricsPage({ listen, producer, resource }: MetricsPageParts): Promise<MetricsPage> {
  const exporter = new PrometheusExporter({ preventServerStart: true, withoutScopeInfo: true, metricProducers: [producer] })
  const provider = new MeterProvider({ resource, readers: [exporter] })
  const server = createServer((request, response) => {
    if (request.method === 'GET' && request.url?.split('?')[0] === '/metrics') exporter.getMetricsRequestHandler(request, response)
    else response.writeHead(404, { 'content-type': 'text/plain' }).end('the metrics are at /metrics\n')
  })
  await listenOn(server, listen)
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : listen.port
  return {
    url: `http://${listen.host.includes(':') ? `[${listen.host}]` : listen.host}:${port}/metrics`,
    async close() {
      server.close()
      server.closeAllConnections()
      await provider.shutdown()
    },
  }
}

async function listenOn(server: Server, { host, port }: MetricsPageParts['listen']): Promise<void> {
  server.listen(port, host)
  try {
    await once(server, 'listening')
  } catch (cause) {
    const inUse = cause instanceof Error && 'code' in cause && cause.code === 'EADDRINUSE'
    const what = inUse ? 'is in use already' : `cannot be listened on (${cause instanceof Error ? cause.message : String(cause)})`
    throw new Error(`telemetry.metrics: ${host}:${port} ${what}; set telemetry.metrics to another "host:port", or to "off"`, { cause })
  }
}
