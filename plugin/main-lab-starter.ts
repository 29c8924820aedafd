import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { LabRuns } from './log/control/lab.ts'

/** Starts the Lab's runs one after another, each in a process of its own; keeps no state that the database does not hold. */
export interface LabStarter {
  /** Something waits perhaps: starts it unless another runs. */
  nudge(): void
  /** Ends what runs; it is then said to have failed. */
  stop(): void
}

/** A starter over the runs of this data directory. What a process that is gone left running is said to have failed. */
export function createLabStarter(given: { readonly dataDir: string; readonly labRuns: LabRuns }): LabStarter {
  const { dataDir, labRuns } = given
  let child: ChildProcess | undefined
  const clear = (why: string): void => {
    for (const run of labRuns.unfinished())
      if (run.state === 'running' && !isAlive(run.pid)) labRuns.end(run.runId, { state: 'failed', error: why })
  }
  const nudge = (): void => {
    if (child) return
    clear('its process ended before it was done')
    const [next] = labRuns.unfinished()
    if (next?.state !== 'waiting') return
    const script = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? './main.ts' : './main.js', import.meta.url))
    const args = ['--disable-warning=ExperimentalWarning', script, 'lab-run', '--data-dir', dataDir, '--run', String(next.runId)]
    child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] })
    child.on('error', (error) => labRuns.end(next.runId, { state: 'failed', error: `it could not be started: ${error.message}` }))
    child.on('close', (code, signal) => {
      child = undefined
      labRuns.end(next.runId, { state: 'failed', error: `its process ended (${signal ?? `code ${code}`}) before it was done` })
      nudge()
    })
  }
  return {
    nudge,
    stop() {
      child?.removeAllListeners('close')
      child?.kill()
    },
  }
}

function isAlive(pid: number | null): boolean {
  if (pid === null) return false
  try {
    process.kill(pid, 0)
    return true
  } catch {
    // Nobody has that number.
    return false
  }
}
