import type { Score } from '../scenario/score.ts'

/** What the twin says of one pool. */
export interface PoolReplay {
  readonly pool: string
  readonly calls: number
  /** Calls before the range, played so that policies know what they would have known. */
  readonly warmUpCalls: number
  readonly logged: { readonly answered: number; readonly meanE2eMs: number; readonly meanTtftMs: number }
  readonly fleet: readonly {
    readonly name: string
    readonly profile: string
    readonly kvBlocks: number
    readonly calls?: number
    readonly e2eError?: number
  }[]
  readonly policies: readonly { readonly policy: string; readonly score: Score }[]
}

/** The tables of `phasewise replay --twin`, without anything that differs from run to run. */
export function formatTwinReplay(pools: readonly PoolReplay[]): string {
  if (pools.length === 0) return 'no calls in this range'
  return pools.map(formatPool).join('\n\n')
}

function formatPool({ pool, calls, warmUpCalls, logged, fleet, policies }: PoolReplay): string {
  const seconds = (ms: number): string => (ms / 1000).toFixed(3)
  const base = policies[0]?.score.meanE2eMs ?? Number.NaN
  const rows = policies.map(({ policy, score }) => [
    policy,
    seconds(score.meanE2eMs),
    `${(100 * (1 - score.meanE2eMs / base)).toFixed(1)} %`,
    seconds(score.p50E2eMs),
    seconds(score.p99E2eMs),
    seconds(score.meanTtftMs),
    seconds(score.p99TtftMs),
    String(score.preemptions),
    String(score.lost),
  ])
  const header = ['policy', 'mean E2E s', 'gain', 'E2E p50', 'E2E p99', 'mean TTFT s', 'TTFT p99', 'preemptions', 'lost']
  return [
    `pool ${pool}: ${calls} calls${warmUpCalls > 0 ? `, ${warmUpCalls} before them played to warm up` : ''}`,
    `logged: ${logged.answered} answered, mean E2E ${seconds(logged.meanE2eMs)} s, mean TTFT ${seconds(logged.meanTtftMs)} s`,
    ...fleet.map((one) => `  ${one.name}: ${one.profile}, ${one.kvBlocks} blocks${judged(one)}`),
    table([header, ...rows]),
  ].join('\n')
}

function judged({ calls, e2eError }: PoolReplay['fleet'][number]): string {
  if (calls === undefined || e2eError === undefined) return ''
  return calls === 0
    ? ' (served nothing: a guess)'
    : ` (nearest shipped profile, scaled; mean E2E ${e2eError >= 0 ? '+' : ''}${(100 * e2eError).toFixed(1)} % on ${calls} calls)`
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)))
  return rows
    .map((row) =>
      row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join('  '),
    )
    .join('\n')
}
