import { Presets, SingleBar } from 'cli-progress'
import type { Distribution, ReplayProgress, ReplayResult } from './replay.ts'

/** The result as people read it, ending in a line feed. */
export function formatReplay(result: ReplayResult): string {
  const { sent, succeeded, failed, wallMs, speed, model } = result
  const lines = [
    `model ${model}, speed ${speed}, ${(wallMs / 1000).toFixed(1)} s`,
    `calls     sent ${sent}   succeeded ${succeeded} (${share(succeeded, sent)})   failed ${failed}   output tokens ${result.outputTokens}`,
    ...Object.entries(result.failures).map(([reason, count]) => `          ${reason}: ${count}`),
    '',
    `${'ms'.padEnd(10)}${['mean', 'p50', 'p95', 'p99', 'max'].map((name) => name.padStart(10)).join('')}`,
    row('TTFT', result.ttft),
    row('TPOT', result.tpot),
    row('E2E', result.e2e),
    row('lateness', result.lateness),
  ]
  const instances = Object.entries(result.callsByInstance)
  if (instances.length > 0) lines.push('', 'calls per instance')
  for (const [name, count] of instances) lines.push(`  ${name.padEnd(24)}${String(count).padStart(8)}  ${share(count, succeeded)}`)
  return `${lines.join('\n')}\n`
}

function row(name: string, distribution: Distribution | undefined): string {
  if (!distribution) return `${name.padEnd(10)}${'–'.padStart(10)}`
  const { meanMs, p50Ms, p95Ms, p99Ms, maxMs } = distribution
  return name.padEnd(10) + [meanMs, p50Ms, p95Ms, p99Ms, maxMs].map((value) => value.toFixed(value < 100 ? 2 : 0).padStart(10)).join('')
}

function share(part: number, whole: number): string {
  return whole === 0 ? '–' : `${((100 * part) / whole).toFixed(1)} %`
}

/** A progress bar on stderr, over calls where their number is known, else over the trace's seconds. */
export function createReplayBar(limit: { readonly calls?: number; readonly seconds?: number }): {
  update(progress: ReplayProgress): void
  stop(): void
} {
  const unit = limit.calls === undefined ? 's' : 'calls'
  const format = `{bar} {value}/{total} ${unit} · sent {sent} · in flight {inFlight} · failed {failed}`
  const bar = new SingleBar({ format, stream: process.stderr, hideCursor: true }, Presets.shades_classic)
  bar.start(limit.calls ?? limit.seconds ?? 0, 0, { sent: 0, inFlight: 0, failed: 0 })
  return {
    update({ sent, succeeded, failed, inFlight, atMs }) {
      bar.update(limit.calls === undefined ? Math.round(atMs / 1000) : succeeded + failed, { sent, inFlight, failed })
    },
    stop: () => bar.stop(),
  }
}
