import type { Profile } from '../simulation/profiles.ts'
import { playEngine } from './play-engine.ts'
import type { InstanceLog } from './profile-rows.ts'

/** Played ÷ logged mean − 1 on calls that the fit has not seen. */
export interface HeldOutErrors {
  readonly calls: number
  readonly ttft: number
  readonly tpot: number
  readonly e2e: number
}

/** The newest part of a log is not fitted to, but judged by. */
export const HELD_OUT_RATIO = 0.2
/** A logged time is held within this factor (ln) of the played one: absurd rows are no reproach. */
const HELD = 1.5

/** Judges a profile on the newest part of a log, the whole of which is played. */
export function errorsOfProfile(profile: Profile, overheadMs: number, log: InstanceLog): HeldOutErrors {
  const times = playEngine(profile, log.calls)
  const from = Math.floor((1 - HELD_OUT_RATIO) * log.judged.length)
  const sums = { ttft: [0, 0], tpot: [0, 0], e2e: [0, 0] } as Record<'ttft' | 'tpot' | 'e2e', [number, number]>
  let calls = 0
  const add = (sum: [number, number], played: number, logged: number): void => {
    if (!(played >= 0) || Number.isNaN(logged)) return
    sum[0] += played
    sum[1] += Math.min(played * Math.exp(HELD), Math.max(played * Math.exp(-HELD), logged))
  }
  for (let i = from; i < log.judged.length; i++) {
    if (log.judged[i] === 0) continue
    calls++
    const [ttftMs, e2eMs] = [(times.ttftMs[i] as number) + overheadMs, (times.e2eMs[i] as number) + overheadMs]
    add(sums.ttft, ttftMs, log.ttftMs[i] as number)
    add(sums.e2e, e2eMs, log.e2eMs[i] as number)
    const more = (log.calls.outputTokens[i] as number) - 1
    if (more > 0) add(sums.tpot, (e2eMs - ttftMs) / more, ((log.e2eMs[i] as number) - (log.ttftMs[i] as number)) / more)
  }
  const off = ([played, logged]: [number, number]): number => (logged > 0 ? played / logged - 1 : Number.NaN)
  return { calls, ttft: off(sums.ttft), tpot: off(sums.tpot), e2e: off(sums.e2e) }
}
