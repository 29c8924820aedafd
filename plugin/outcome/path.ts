/** Whether what came so far may go to the caller. 'undecided': nothing was given out yet. 'bad': neither, and the instance failed. */
export type Verdict = 'undecided' | 'good' | 'bad'

/**
 * Bytes held at most until a response is judged, per call. Holding costs the caller nothing: engines write a stream's opening frames
 * together with its first token, and a JSON answer in one go; what is larger was surely not aborted empty.
 */
export const HOLD_BYTES_MAX = 65_536

/** One way of a response's bytes through the meter. */
export interface Path {
  readonly verdict: Verdict
  /** Takes bytes in, gives out what may go now. */
  push(bytes: Buffer, nowMs: number): Buffer
  /** Gives out what is held; from here on bytes flow. */
  release(): Buffer
  /** No more bytes will come: gives out what is left. */
  end(nowMs: number): Buffer
}
