import { readFileSync } from 'node:fs'
import { fetch } from 'undici'
import { parse } from 'yaml'
import type { Config } from './config.ts'
import { examineEnvoy } from './gateways/envoy/examine.ts'
import { SEEN } from './gateways/envoy/observing.ts'
import { databasePath } from './log/migrate.ts'
import { openReader } from './log/read/reader.ts'
import type { Finding } from './main-doctor.ts'

/** Patience with Envoy's admin page. */
const ASK_MS = 5_000

/** What is known of the Envoy in front: from its configuration (a file, or its admin page's address) and from what the picker was seen to get. */
export async function examineEnvoyDoor(config: Config, source: string | undefined): Promise<Finding[]> {
  const seen = seenFindings(config)
  if (source === undefined) return seen
  try {
    return [...examineEnvoy({ config: await readEnvoy(source), holdLimitMs: config.gateways.envoy.holdLimitMs }), ...seen]
  } catch (error) {
    const remedy = 'name its configuration file, or the address of its admin page, e.g. http://127.0.0.1:9901'
    return [{ level: 'fail', about: 'envoy', found: `${source} cannot be read (${(error as Error).message})`, remedy }, ...seen]
  }
}

async function readEnvoy(source: string): Promise<unknown> {
  if (!/^https?:/.test(source)) return parse(readFileSync(source, 'utf8'))
  const answer = await fetch(`${source.replace(/\/+$/, '')}/config_dump`, { signal: AbortSignal.timeout(ASK_MS) })
  if (!answer.ok) throw new Error(`status ${answer.status}`)
  return answer.json()
}

const REMEDIES: Readonly<Record<string, string>> = {
  [SEEN.requestBodies]: 'set request_body_mode: FULL_DUPLEX_STREAMED; the calls were placed without looking at them',
  [SEEN.responseBodies]: 'set response_body_mode: FULL_DUPLEX_STREAMED; the calls were not measured as they should be',
  [SEEN.notHttp2]: "give the picker's cluster explicit_http_config: {http2_protocol_options: {}}",
  [SEEN.callersDestination]: 'remove x-gateway-destination-endpoint from requests in front of ext_proc: callers can choose where they go',
}

/** Mistakes that the running picker counted. */
function seenFindings({ dataDir }: Config): Finding[] {
  let reader: ReturnType<typeof openReader> | undefined
  try {
    reader = openReader(databasePath(dataDir, 'log'))
    const rows = reader.read((query) =>
      query.all<{ name: string; value: number }>("SELECT name, value FROM counter WHERE name LIKE 'envoy: %'"),
    )
    return rows.flatMap(({ name, value }) => {
      const remedy = REMEDIES[name]
      return remedy === undefined ? [] : [{ level: 'warn' as const, about: name, found: `seen ${value} times so far`, remedy }]
    })
  } catch (error) {
    // No log yet, or one that doctor tells of elsewhere.
    if (error instanceof Error) return []
    throw error
  } finally {
    reader?.close()
  }
}
