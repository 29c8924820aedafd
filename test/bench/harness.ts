import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

/** What every benchmark shares: rows, bars, figures, and processes to be measured. */
export type Row = Readonly<Record<string, string | number>>

/** One bar: a value that must reach its goal. */
export interface Bar {
  readonly name: string
  readonly value: number
  readonly goal: number
  readonly met: boolean
}

export interface BenchResult {
  readonly rows: readonly Row[]
  readonly bars: readonly Bar[]
}

/** A bar that is met at `goal` or above. */
export const atLeast = (name: string, value: number, goal: number): Bar => ({ name, value, goal, met: value >= goal })

/** A bar that is met at `goal` or below. */
export const atMost = (name: string, value: number, goal: number): Bar => ({ name, value, goal, met: value <= goal })

/** The value below which `share` of the sorted values lie; NaN of none. */
export function quantile(values: ArrayLike<number>, share: number): number {
  const sorted = Float64Array.from(values).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}

export function median(values: ArrayLike<number>): number {
  return quantile(values, 0.5)
}

/** `value` to three significant digits, as a number. */
export const rounded = (value: number): number => Number(value.toPrecision(3))

/** Shows how far a benchmark is, on a line of its own that is overwritten where the output is a terminal. */
export function progress(done: number, all: number, what: string): void {
  const line = `[${done}/${all}] ${what}`
  if (process.stderr.isTTY) process.stderr.write(`\r${line.padEnd(100)}${done === all ? '\n' : ''}`)
  else process.stderr.write(`${line}\n`)
}

/** Jiffies per second in /proc: 100 on every Linux that Node runs on (`getconf CLK_TCK`). */
const TICKS_PER_SECOND = 100

/** CPU time that a process and all its threads have used, in ms; with `tree` also that of its living descendants. Linux only: NaN elsewhere. */
export function cpuMsOf(pid: number, options: { readonly tree: boolean } = { tree: false }): number {
  const pids = options.tree ? [pid, ...descendantsOf(pid)] : [pid]
  return pids.reduce((sum, one) => sum + (statOf(one)?.cpuMs ?? Number.NaN), 0)
}

function statOf(pid: number): { readonly parent: number; readonly cpuMs: number } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name in parentheses may hold blanks; fields are counted after it (proc(5): utime 14, stime 15).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return { parent: Number(fields[1]), cpuMs: ((Number(fields[11]) + Number(fields[12])) * 1_000) / TICKS_PER_SECOND }
  } catch (error) {
    if (error instanceof Error && 'code' in error) return undefined
    throw error
  }
}

function descendantsOf(pid: number): number[] {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  const parents = new Map(all.map((name) => [Number(name), statOf(Number(name))?.parent]))
  const within = (one: number): boolean => {
    for (let at: number | undefined = parents.get(one); at && at > 1; at = parents.get(at)) if (at === pid) return true
    return false
  }
  return [...parents.keys()].filter(within)
}

/** A process started for a benchmark. */
export interface Measured {
  readonly pid: number
  readonly child: ChildProcess
  /** Resolves with the match in what it prints; rejects when it ends before. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
  /** Ends it and waits for that. */
  end(): Promise<void>
}

/** Starts Node on a file, quietly; its output is heard, and shown when it ends too early. */
export function startNode(
  file: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: Record<string, string>; readonly ipc?: true } = {},
): Measured {
  const child = spawn(process.execPath, [file, ...args], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe', ...(options.ipc ? (['ipc'] as const) : [])],
  })
  let text = ''
  const waiting = new Set<() => void>()
  const hear = (chunk: Buffer): void => {
    // Only the beginning is of interest; a server may go on printing.
    if (text.length < 100_000) text += chunk.toString()
    for (const look of waiting) look()
  }
  child.stdout?.on('data', hear)
  child.stderr?.on('data', hear)
  let ended = false
  const gone = new Promise<void>((done) => {
    child.once('close', () => {
      ended = true
      for (const look of waiting) look()
      done()
    })
  })
  const printed = (pattern: RegExp): Promise<RegExpExecArray> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const match = pattern.exec(text)
        if (match) resolve(match)
        else if (ended) reject(new Error(`${file} ended before it printed ${pattern}:\n${text}`))
        else return
        waiting.delete(look)
      }
      waiting.add(look)
      look()
    })
  const end = async (): Promise<void> => {
    if (!ended) child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), 10_000)
    await gone
    clearTimeout(timer)
  }
  return { pid: child.pid ?? 0, child, printed, end }
}
