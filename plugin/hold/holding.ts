import type { HoldQueue } from './hold-queue.ts'
import type { HeldCall, HoldInstance } from './rule.ts'

/** What a router asks of whatever holds its calls. */
export type Holding<T extends HeldCall, I extends HoldInstance = HoldInstance> = Pick<
  HoldQueue<T, I>,
  'length' | 'wakeAtMs' | 'join' | 'release' | 'leave'
>
