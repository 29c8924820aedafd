import { parentPort, workerData } from 'node:worker_threads'
import { type CalibratedProfile, type CalibrationInput, calibrateProfiles } from './profiles.ts'

/** What is calibrated: all of CalibrationInput that can be sent to a thread. */
export type CalibrationTask = Omit<CalibrationInput, 'priorOf' | 'onProgress'>

/** What the thread says: how far it is, 0..1, then what it found. */
export type CalibrationWord = { readonly ratio: number } | { readonly found: readonly CalibratedProfile[] }

if (parentPort) {
  const say = (word: CalibrationWord): void => parentPort?.postMessage(word)
  say({ found: calibrateProfiles({ ...(workerData as CalibrationTask), onProgress: (ratio) => say({ ratio }) }) })
}
