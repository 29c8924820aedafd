import { systemClock } from './clock.ts'
import { environment } from './config.ts'
import { replay } from './simulation/replay.ts'
import { createReplayBar, formatReplay } from './simulation/replay-report.ts'
import { readTrace } from './simulation/traces.ts'

export interface ReplayCommand {
  readonly trace: string
  readonly url: string
  readonly speed: number
  readonly calls?: number
  readonly seconds?: number
  readonly model?: string
  readonly json?: true
}

/** `phasewise replay`: 0 when every call succeeded, else 1. A key for the URL is taken from PHASEWISE_KEY. Throws TraceError on an unreadable trace. */
export async function runReplay(command: ReplayCommand): Promise<number> {
  const { calls, seconds, model } = command
  const trace = await readTrace(command.trace)
  const apiKey = environment().PHASEWISE_KEY
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  const lastS = Math.ceil((trace.at(-1)?.atMs ?? 0) / 1_000)
  const bar = command.json
    ? undefined
    : createReplayBar(calls === undefined ? { seconds: Math.min(seconds ?? lastS, lastS) } : { calls: Math.min(calls, trace.length) })
  try {
    const result = await replay({
      trace,
      url: command.url,
      speed: command.speed,
      clock: systemClock,
      signal: stop.signal,
      ...(calls === undefined ? {} : { calls }),
      ...(seconds === undefined ? {} : { seconds }),
      ...(model === undefined ? {} : { model }),
      ...(apiKey ? { apiKey } : {}),
      ...(bar ? { onProgress: bar.update } : {}),
    })
    bar?.stop()
    console.log(command.json ? JSON.stringify(result) : formatReplay(result))
    return result.failed === 0 && result.sent > 0 ? 0 : 1
  } finally {
    bar?.stop()
  }
}
