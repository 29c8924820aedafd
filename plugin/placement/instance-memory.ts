import type { InstanceView } from '../fleet/instance.ts'

/** What a policy remembers of each instance, for as long as the instance lives. */
export class InstanceMemory<T> {
  readonly #create: (instance: InstanceView) => T
  readonly #known = new WeakMap<InstanceView, T>()

  /** `create` makes the memory of an instance seen for the first time. */
  constructor(create: (instance: InstanceView) => T) {
    this.#create = create
  }

  /** The memory of this instance. Throws where there is no instance: candidates beyond `count` are none of a policy's business. */
  of(instance: InstanceView | undefined): T {
    if (!instance) throw new Error('there is no such candidate')
    const known = this.#known.get(instance)
    if (known) return known
    const made = this.#create(instance)
    this.#known.set(instance, made)
    return made
  }
}
