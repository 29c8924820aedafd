import { type FSWatcher, watch } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { DesiredInstance } from './connections.ts'
import type { Source, SourceParts } from './discovery.ts'

export interface WatchedFileParts extends SourceParts {
  readonly path: string
  /** Reads the file's text into instances, keys resolved. Throws an error whose message lists every problem: key, value, remedy. */
  readonly parse: (text: string) => readonly DesiredInstance[]
  /** Quiet time after a change before the file is read. */
  readonly settleMs?: number
  /** The file is read this often even if nobody tells of a change. */
  readonly rereadMs?: number
}

/** Editors and config maps write in several steps within milliseconds. Chosen: shorter than anybody waits for. */
const SETTLE_MS = 100
/** Network file systems tell of no change, and a key file may change alone. Chosen: fast enough for a key rotation. */
const REREAD_MS = 10_000

/**
 * Instances from a file that is read again when it changes. It is the directory that is watched: editors and Kubernetes replace the file,
 * which ends a watch of the file itself. A file that cannot be read, holds a mistake, or is empty (half written) changes nothing.
 */
export function watchFile(parts: WatchedFileParts): Source {
  let closed = false
  let last: string | undefined
  let lastProblem: string | undefined
  let reading = Promise.resolve()
  let settle: NodeJS.Timeout | undefined
  const complain = (problem: string): void => {
    // Told again only when it changes: the same mistake is read every few seconds.
    if (problem !== lastProblem) parts.onProblem(problem)
    lastProblem = problem
  }
  const read = async (): Promise<void> => {
    try {
      const text = await readFile(parts.path, 'utf8')
      if (closed) return
      if (text.trim() === '') throw new Error(`${parts.path} is empty; write [] to have no instances`)
      const list = parts.parse(text)
      lastProblem = undefined
      const now = JSON.stringify(list)
      if (now === last) return
      last = now
      parts.onInstances(list)
    } catch (error) {
      if (closed) return
      const kept = last === undefined ? 'no instances from it yet' : 'the previous list is kept'
      complain(`${(error as Error).message} (${kept})`)
    }
  }
  const soon = (): void => {
    reading = reading.then(read)
  }
  const watcher = openWatch(parts.path, complain, () => {
    clearTimeout(settle)
    settle = setTimeout(soon, parts.settleMs ?? SETTLE_MS).unref()
  })
  const reread = setInterval(soon, parts.rereadMs ?? REREAD_MS).unref()
  soon()
  return {
    first: reading,
    close() {
      closed = true
      clearTimeout(settle)
      clearInterval(reread)
      watcher?.close()
    },
  }
}

function openWatch(path: string, complain: (problem: string) => void, onChange: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(dirname(path), { persistent: false }, onChange)
    watcher.on('error', (error) => complain(`${path} cannot be watched (${error.message}); it is read again every few seconds`))
    return watcher
  } catch (error) {
    complain(`${path} cannot be watched (${(error as Error).message}); it is read again every few seconds`)
    return undefined
  }
}
