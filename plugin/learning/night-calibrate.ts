import { Worker } from 'node:worker_threads'
import type { CalibrationTask, CalibrationWord } from './calibrate-worker.ts'
import type { NightDesk } from './night-desk.ts'
import type { CalibratedProfile } from './profiles.ts'

/**
 * Calibrates in a thread of its own. One type of instance takes up to half a minute in one piece: in the trainer's own thread the run would give no sign of life for so
 * long, and somebody who cancels it would wait. Rejects with the signal's reason as soon as the run is to stop.
 */
export function calibrateApart(
  task: CalibrationTask,
  { signal, progress }: Pick<NightDesk, 'signal' | 'progress'>,
): Promise<CalibratedProfile[]> {
  // A view on a larger buffer would be sent with all of it.
  const calls = task.calls.map((call) => ({ ...call, prefixBlocks: Uint32Array.from(call.prefixBlocks) }))
  const script = import.meta.url.endsWith('.ts') ? './calibrate-worker.ts' : './calibrate-worker.js'
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const worker = new Worker(new URL(script, import.meta.url), { workerData: { ...task, calls } satisfies CalibrationTask })
    const stop = (): void => {
      reject(signal.reason)
      void worker.terminate()
    }
    signal.addEventListener('abort', stop, { once: true })
    worker.on('message', (word: CalibrationWord) => {
      if ('ratio' in word) return progress('profiles', word.ratio)
      resolve([...word.found])
    })
    worker.on('error', reject)
    worker.on('exit', (code) => {
      signal.removeEventListener('abort', stop)
      reject(new Error(`the calibration's thread ended with code ${code}`))
    })
  })
}
