import { Cron } from 'croner'
import type { NightConfig } from './config-night.ts'
import type { Rng } from './rng.ts'

/** When nights come: follows the settings, which may change while it runs. */
export interface Schedule {
  /** From now on these count. What is the same as before goes on undisturbed; a night that only waits for its jitter is dropped with the old schedule. */
  follow(night: Pick<NightConfig, 'schedule' | 'timeZone' | 'jitterMinutes'>): void
  stop(): void
}

/** A schedule that asks for nothing until it is told what to follow. `ask` is called when a night is due, up to `jitterMinutes` later. */
export function createSchedule({ ask, rng }: { readonly ask: () => void; readonly rng: Rng }): Schedule {
  let followed = ''
  let cron: Cron | undefined
  const later = new Set<NodeJS.Timeout>()
  const stop = (): void => {
    cron?.stop()
    cron = undefined
    for (const one of later) clearTimeout(one)
    later.clear()
  }
  return {
    follow({ schedule, timeZone, jitterMinutes }) {
      const wanted = JSON.stringify([schedule, timeZone, jitterMinutes])
      if (wanted === followed) return
      followed = wanted
      stop()
      if (schedule === 'off') return
      cron = new Cron(schedule, { timezone: timeZone, unref: true }, () => {
        const timer = setTimeout(
          () => {
            later.delete(timer)
            ask()
          },
          rng.next() * jitterMinutes * 60_000,
        )
        later.add(timer)
      })
    },
    stop,
  }
}
