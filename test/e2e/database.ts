import { join } from 'node:path'
import { openReader } from '../../plugin/log/read/reader.ts'
import type { Site } from './processes.ts'

export interface StoredCall {
  readonly outcome: string
  readonly error: string | null
  readonly attempts: number
  readonly instance: string | null
  readonly application: string
  readonly api: string
  readonly stream: number
  readonly ttft_ms: number | null
  readonly output_tokens: number | null
  readonly prompt_tokens: number | null
  readonly tokens_from: string | null
  readonly features: Uint8Array | null
}

/** Every call in the site's log, in order of arrival. */
export function storedCalls(site: Site): StoredCall[] {
  return ask<StoredCall>(
    site,
    `SELECT call.*, instance.name AS instance, candidate.features AS features
     FROM call LEFT JOIN instance USING (instance_id) LEFT JOIN candidate USING (call_id) ORDER BY call_id`,
  )
}

/** Rows of one query on the site's log. */
export function ask<Row>(site: Site, sql: string): Row[] {
  const reader = openReader(join(site.folder, '.phasewise', 'log.sqlite'))
  try {
    return reader.read((query) => query.all<Row>(sql))
  } finally {
    reader.close()
  }
}
