import { existsSync, readdirSync } from 'node:fs'
import { setPriority } from 'node:os'

/** Linux's list of this process's threads. */
const THREADS = '/proc/self/task'

/**
 * Gives this process a niceness (0 to 19, higher yields more) with all of its threads. On Linux setpriority reaches a single thread (setpriority(2), "C library/kernel
 * differences"): V8's helpers, which collect garbage and compile, would go on at the callers' expense. Threads that begin later take it from the one that begins them.
 */
export function yieldToOthers(niceness: number): void {
  setPriority(niceness)
  if (!existsSync(THREADS)) return
  for (const thread of readdirSync(THREADS)) {
    try {
      setPriority(Number(thread), niceness)
    } catch (error) {
      // A helper may end between the list and the call.
      if (!(error instanceof Error && 'code' in error)) throw error
    }
  }
}
