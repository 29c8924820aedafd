import type { Training } from '../neural/training.ts'
import type { Rng } from '../rng.ts'
import { INSTANCE_WIDTH, ROUTER_WIDTH } from './paper-state.ts'

/** One decision and what came of it until the next. */
export interface Transition {
  readonly state: Float32Array
  readonly action: number
  readonly heuristic: number
  readonly reward: number
  /** Ticks until the next decision; 0 within one tick. */
  readonly ticks: number
  /** The workload was over: nothing follows. */
  readonly ends: boolean
}

/** How transitions become targets; it changes from episode to episode. */
export interface Sampling {
  /** γ̃ per tick. */
  readonly discount: number
  /** Of h, in units of reward. */
  readonly weight: number
  /** Decisions summed before the net's own value stands for the rest (n-step returns, Watkins, 1989). */
  readonly returnSteps: number
  /** Equal instances: every drawn transition has them in another order. */
  readonly shuffles: boolean
  readonly rng: Rng
}

/**
 * The last `capacity` decisions in order of time; the oldest goes first. r and h are stored apart, since their weights and the discount change while
 * they wait here: a target is summed when it is drawn.
 */
export class Replay {
  readonly #capacity: number
  readonly #width: number
  readonly #states: Float32Array
  readonly #actions: Uint8Array
  readonly #rewards: Float32Array
  readonly #heuristics: Float32Array
  readonly #ticks: Float32Array
  readonly #ends: Uint8Array
  #count = 0

  constructor({ capacity, width }: { readonly capacity: number; readonly width: number }) {
    this.#capacity = capacity
    this.#width = width
    this.#states = new Float32Array(capacity * width)
    this.#actions = new Uint8Array(capacity)
    this.#rewards = new Float32Array(capacity)
    this.#heuristics = new Float32Array(capacity)
    this.#ticks = new Float32Array(capacity)
    this.#ends = new Uint8Array(capacity)
  }

  get length(): number {
    return Math.min(this.#count, this.#capacity)
  }

  add({ state, action, heuristic, reward, ticks, ends }: Transition): void {
    const at = this.#count++ % this.#capacity
    this.#states.set(state, at * this.#width)
    this.#actions[at] = action
    this.#rewards[at] = reward
    this.#heuristics[at] = heuristic
    this.#ticks[at] = ticks
    this.#ends[at] = ends ? 1 : 0
  }

  /**
   * Fills the training's inputs with a batch drawn evenly:
   *   reward = Σ_{i<n} γ̃^(t_i) · (r_i + weight · h_i),  discount = γ̃^(t_n), 0 where the workload ended before
   */
  sample({ feeds }: Pick<Training, 'feeds'>, sampling: Sampling): void {
    const { state, next, action, reward, discount } = feeds as Record<'state' | 'next' | 'action' | 'reward' | 'discount', Float32Array>
    const actions = action.length / reward.length
    const order = Array.from({ length: actions - 1 }, (_, i) => i)
    action.fill(0)
    for (let b = 0; b < reward.length; b++) {
      const age = 2 + sampling.rng.int(this.length - 1)
      const first = this.#count - age
      const after = this.#sum(first, sampling)
      if (sampling.shuffles) shuffle(order, sampling.rng)
      this.#copy(first, state, b, order)
      this.#copy(after.at, next, b, order)
      const taken = this.#actions[first % this.#capacity] as number
      action[b * actions + (order[taken] ?? taken)] = 1
      reward[b] = after.reward
      discount[b] = after.discount
    }
  }

  /** The return from the `first` decision on, and where the net's own value takes over. */
  #sum(
    first: number,
    { discount, weight, returnSteps }: Sampling,
  ): { readonly at: number; readonly reward: number; readonly discount: number } {
    let reward = 0
    let kept = 1
    let at = first
    // The last decision stored has no next state yet: the sum stops before it.
    while (at < this.#count - 1 || this.#ends[at % this.#capacity] === 1) {
      const i = at % this.#capacity
      reward += kept * ((this.#rewards[i] as number) + weight * (this.#heuristics[i] as number))
      if (this.#ends[i] === 1) return { at, reward, discount: 0 }
      kept *= discount ** (this.#ticks[i] as number)
      at++
      if (at - first === returnSteps) break
    }
    return { at, reward, discount: kept }
  }

  /** Writes a state as row `b`, its instances in the given order. */
  #copy(decision: number, to: Float32Array, b: number, order: readonly number[]): void {
    const from = (decision % this.#capacity) * this.#width
    for (let k = 0; k < ROUTER_WIDTH; k++) to[b * this.#width + k] = this.#states[from + k] as number
    for (let i = 0; i < order.length; i++) {
      const read = from + ROUTER_WIDTH + INSTANCE_WIDTH * i
      const write = b * this.#width + ROUTER_WIDTH + INSTANCE_WIDTH * (order[i] as number)
      for (let k = 0; k < INSTANCE_WIDTH; k++) to[write + k] = this.#states[read + k] as number
    }
  }
}

/** Fisher and Yates, 1938. */
function shuffle(order: number[], rng: Rng): void {
  for (let i = order.length - 1; i > 0; i--) {
    const j = rng.int(i + 1)
    const kept = order[i] as number
    order[i] = order[j] as number
    order[j] = kept
  }
}
