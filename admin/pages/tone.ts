/** The tint of a word in a tag; the word itself always stands there too. */
export type Tone = 'good' | 'warn' | 'bad' | 'accent' | ''

const STATES: Readonly<Record<string, Tone>> = {
  healthy: 'good',
  degraded: 'warn',
  recovering: 'warn',
  draining: 'warn',
  ejected: 'bad',
}
const OUTCOMES: Readonly<Record<string, Tone>> = { completed: 'good', 'client gone': 'warn', 'instance error': 'bad', 'timed out': 'bad' }

/** Tint of an instance's state. */
export const stateTone = (state: string): Tone => STATES[state] ?? ''

/** Tint of an outcome. */
export const outcomeTone = (outcome: string): Tone => OUTCOMES[outcome] ?? ''

const RUNS: Readonly<Record<string, Tone>> = { done: 'good', running: 'accent', waiting: '', failed: 'bad', cancelled: 'warn' }

/** Tint of a run's state. */
export const runTone = (state: string): Tone => RUNS[state] ?? ''
