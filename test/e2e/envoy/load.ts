import { Pool } from 'undici'

/** What became of many calls sent at once. */
export interface Tally {
  sent: number
  readonly byStatus: Map<number, number>
  /** Connections that broke, by what was said. */
  readonly broken: Map<string, number>
  readonly byInstance: Map<string, number>
}

export interface LoadOptions {
  readonly url: string
  readonly connections: number
  readonly body: string
  /** Asked before each call: false ends the load. */
  readonly more: (tally: Tally) => boolean
  /** A call that takes longer than this hangs: it is counted as broken. */
  readonly timeoutMs?: number
}

/** Keeps `connections` calls going, one after another on each connection, until `more` says no. */
export async function load({ url, connections, body, more, timeoutMs = 20_000 }: LoadOptions): Promise<Tally> {
  const pool = new Pool(url, { connections, pipelining: 1, headersTimeout: timeoutMs, bodyTimeout: timeoutMs })
  const tally: Tally = { sent: 0, byStatus: new Map(), broken: new Map(), byInstance: new Map() }
  const add = <K>(map: Map<K, number>, key: K): void => void map.set(key, (map.get(key) ?? 0) + 1)
  const worker = async (): Promise<void> => {
    while (more(tally)) {
      tally.sent++
      try {
        const answer = await pool.request({
          path: '/v1/chat/completions',
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body,
        })
        await answer.body.text()
        add(tally.byStatus, answer.statusCode)
        const instance = answer.headers['x-instance']
        if (typeof instance === 'string') add(tally.byInstance, instance)
      } catch (error) {
        add(tally.broken, (error as { code?: string }).code ?? String(error))
      }
    }
  }
  await Promise.all(Array.from({ length: connections }, worker))
  await pool.close()
  return tally
}

/** Calls that were answered with 200. */
export const succeeded = (tally: Tally): number => tally.byStatus.get(200) ?? 0
