/** Bounds of a queue of held calls. */
export interface HoldQueueOptions {
  /** Calls held at once at most; one more is placed at once. */
  readonly seatsMax: number
  /** No call is held longer than this, but for overload. */
  readonly heldMsMax: number
  /**
   * In overload so many times the wait that serving all in turn would mean when the call came, where that is more; 0: never longer than `heldMsMax`. A
   * deadline below that wait ends for everybody at once, and the order with it.
   */
  readonly inTurnFactor: number
  /** A fairness group's share of starts is kept above this times its share of arrivals, over about a minute; 0 is off. */
  readonly fairFloorRatio: number
}

/** Each chosen: what would change them is beside them. */
export const HOLD_QUEUE_DEFAULTS: HoldQueueOptions = {
  // Some kilobytes of bookkeeping and an open connection each; choosing the next of 4,096 takes some 20 µs.
  seatsMax: 4_096,
  // Callers' own time-outs are minutes; the strict order without ageing held its unluckiest call for a minute.
  heldMsMax: 60_000,
  // 1 is the wait that nobody could complain of; a half more leaves the order its gain (`azure-code-over`: gain 12 % at 60 s flat, 35 % without any deadline).
  inTurnFactor: 1.5,
  // 1 would be first come, first served between groups, and undo most of what the order gains; 0 lets long answers starve.
  fairFloorRatio: 0.5,
}

/** What is not set as it is by default. A bound that somebody set is a promise; only our own gives way to overload. */
export function withDefaults(given: Partial<HoldQueueOptions> = {}): HoldQueueOptions {
  const promised = given.heldMsMax === undefined ? {} : { inTurnFactor: 0 }
  return { ...HOLD_QUEUE_DEFAULTS, ...promised, ...given }
}
