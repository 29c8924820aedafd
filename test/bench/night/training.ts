import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { MADE_FLEET } from '../../learning/made-log.ts'
import { START_UNIX_MS } from '../../log/row.ts'
import { cpuMsOf, startNode } from '../harness.ts'

/** A night that goes on. */
export interface Training {
  /** Its trainer processes, to be stopped and continued. */
  trainers(): number[]
  /** Rejects with what it printed where the night fails. */
  readonly over: Promise<Trained>
  isOver(): boolean
  end(): Promise<void>
}

/** What a night took: wall time and the trainer's CPU time, its largest resident set, and what it printed. */
export interface Trained {
  readonly elapsedMs: number
  readonly trainerCpuMs: number
  readonly peakMiB: number
  readonly printed: string
}

const WATCH_MS = 250

/** `phasewise train` as a user calls it on the log in `cwd`. */
export function startTraining(given: { readonly cwd: string; readonly toUnixMs: number; readonly generations?: string }): Training {
  const pool = {
    name: 'llama',
    engine: 'vllm',
    instances: MADE_FLEET.map(({ name }) => ({ name, url: `http://127.0.0.1:9/${name}` })),
  }
  writeFileSync(join(given.cwd, 'phasewise.yaml'), stringify({ night: { schedule: 'off' }, pools: [pool] }))
  const main = new URL('../../../plugin/main.ts', import.meta.url).pathname
  const range = ['--from', String(START_UNIX_MS - 60_000), '--to', String(given.toUnixMs), '--seed', '1']
  const child = startNode(main, ['train', ...range, ...(given.generations ? ['--generations', given.generations] : [])], { cwd: given.cwd })
  const beganMs = performance.now()
  let peakKiB = 0
  let trainerCpuMs = 0
  let text = ''
  let isOver = false
  for (const stream of [child.child.stdout, child.child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
  const trainers = (): number[] => processesOf(child.pid).filter((pid) => pid !== child.pid)
  const watching = setInterval(() => {
    const pids = trainers()
    for (const pid of pids) peakKiB = Math.max(peakKiB, peakKiBOf(pid))
    const cpuMs = pids.reduce((sum, pid) => sum + cpuMsOf(pid), 0)
    if (cpuMs > trainerCpuMs) trainerCpuMs = cpuMs
  }, WATCH_MS)
  const over = once(child.child, 'exit').then(([code]) => {
    clearInterval(watching)
    isOver = true
    if (code !== 0) throw new Error(`the night ended with ${code}:\n${text.slice(-4_000)}`)
    return { elapsedMs: performance.now() - beganMs, trainerCpuMs, peakMiB: peakKiB / 1024, printed: text.trim() }
  })
  // Its folder goes too, so that nothing has to be saved; the command first, or it would start another trainer.
  const end = async (): Promise<void> => {
    const left = trainers()
    child.child.kill('SIGKILL')
    for (const pid of left) unlessGone(() => process.kill(pid, 'SIGKILL'))
    await child.end()
  }
  // Whoever waits hears of it; while nobody does yet, it must not end the bench.
  over.catch(() => undefined)
  return { trainers, over, isOver: () => isOver, end }
}

/** A process and its living descendants. Linux only. */
function processesOf(root: number): number[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name) || !existsSync(`/proc/${name}/stat`)) continue
    const stat = unlessGone(() => readFileSync(`/proc/${name}/stat`, 'utf8'))
    if (stat !== undefined) parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]))
  }
  const within = (pid: number): boolean => pid === root || (parents.has(pid) && within(parents.get(pid)!))
  return [...parents.keys()].filter(within)
}

function peakKiBOf(pid: number): number {
  const status = unlessGone(() => readFileSync(`/proc/${pid}/status`, 'utf8')) ?? ''
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0)
}

/** A process may end between the list and the look. */
function unlessGone<T>(look: () => T): T | undefined {
  try {
    return look()
  } catch (error) {
    if (error instanceof Error && 'code' in error) return undefined
    throw error
  }
}
