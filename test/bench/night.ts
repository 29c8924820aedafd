import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { atMost, type BenchResult, rounded } from './harness.ts'
import { feel, startCallers } from './night/callers.ts'
import { writeMadeLog } from './night/made-log.ts'
import { startTraining } from './night/training.ts'

const PARTS = ['whole', 'caller'] as const

/**
 * A night on a log of a million calls, as the command line starts it, its trainer one thread: how long until the verdict and how much memory (`whole`); and what callers
 * of a proxy on the same machine feel while one goes on (`caller`), in pairs with the trainer stopped and at work. `--only` names one of them; `--calls` makes a
 * smaller log for a quick look: time per million then holds the night's fixed costs too.
 */
export async function run(args: readonly string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string', default: PARTS.join(',') },
      calls: { type: 'string', default: '1000000' },
      generations: { type: 'string' },
      /** Of `caller`: its own log's calls, pairs, seconds of each half, and between pairs. */
      callerCalls: { type: 'string', default: '100000' },
      pairs: { type: 'string', default: '20' },
      seconds: { type: 'string', default: '4' },
      gap: { type: 'string', default: '2' },
    },
  })
  const generations = values.generations === undefined ? {} : { generations: values.generations }
  const parts: Readonly<Record<string, () => Promise<BenchResult>>> = {
    whole: () => wholeNight({ calls: Number(values.calls), ...generations }),
    caller: () =>
      callersOfANight({
        calls: Number(values.callerCalls),
        pairs: Number(values.pairs),
        forMs: 1_000 * Number(values.seconds),
        gapMs: 1_000 * Number(values.gap),
      }),
  }
  const results: BenchResult[] = []
  for (const name of values.only.split(',')) {
    const part = parts[name]
    if (!part) throw new Error(`there is no part ${JSON.stringify(name)}; there are ${PARTS.join(', ')}`)
    results.push(await part())
  }
  return { rows: results.flatMap((one) => one.rows), bars: results.flatMap((one) => one.bars) }
}

/** Runs with a fresh folder, and ends in reverse order what was started. */
async function withFolder(body: (cwd: string, running: { end(): Promise<void> }[]) => Promise<BenchResult>): Promise<BenchResult> {
  const cwd = mkdtempSync(join(tmpdir(), 'phasewise-night-'))
  const running: { end(): Promise<void> }[] = [{ end: async () => rmSync(cwd, { recursive: true, force: true }) }]
  try {
    return await body(cwd, running)
  } finally {
    for (const one of running.reverse()) await one.end()
  }
}

function wholeNight({ calls, ...options }: { readonly calls: number; readonly generations?: string }): Promise<BenchResult> {
  return withFolder(async (cwd, running) => {
    const toUnixMs = writeMadeLog(cwd, calls) + 60_000
    const night = startTraining({ cwd, toUnixMs, ...options })
    running.push(night)
    const { elapsedMs, trainerCpuMs, peakMiB, printed } = await night.over
    console.log(printed)
    const perMillion = (ms: number): number => rounded((ms / 60_000) * (1e6 / calls))
    return {
      rows: [
        {
          part: 'whole',
          calls,
          minutes: rounded(elapsedMs / 60_000),
          trainerCpuMinutes: rounded(trainerCpuMs / 60_000),
          peakMiB: Math.round(peakMiB),
        },
      ],
      bars: [atMost('minutesPerMillion', perMillion(elapsedMs), 15), atMost('peakMiB', Math.round(peakMiB), 2048)],
    }
  })
}

interface CallersPlan {
  readonly calls: number
  readonly pairs: number
  readonly forMs: number
  readonly gapMs: number
}

/** Enough generations that the night outlasts the pairs; it is ended after them. */
const LONG_NIGHT = '2000'

function callersOfANight({ calls, ...plan }: CallersPlan): Promise<BenchResult> {
  return withFolder(async (cwd, running) => {
    const toUnixMs = writeMadeLog(cwd, calls) + 60_000
    const callers = await startCallers(running)
    const night = startTraining({ cwd, toUnixMs, generations: LONG_NIGHT })
    running.push(night)
    const felt = await feel(callers, { night, ...plan })
    return {
      rows: [
        {
          part: 'caller',
          calls,
          pairs: felt.pairs,
          quietP50Ms: rounded(felt.quietP50Ms),
          nightP50Ms: rounded(felt.nightP50Ms),
          quietP99Ms: rounded(felt.quietP99Ms),
          nightP99Ms: rounded(felt.nightP99Ms),
          ratioQuarters: `${rounded(felt.ratioLow)} to ${rounded(felt.ratioHigh)}`,
        },
      ],
      bars: [atMost('callerP99Ratio', rounded(felt.ratio), 1.1)],
    }
  })
}
