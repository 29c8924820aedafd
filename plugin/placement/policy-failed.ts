/** A policy says that it cannot decide now; `what` is the name under which the router counts it. */
export class PolicyFailed extends Error {
  override readonly name = 'PolicyFailed'
  readonly what: string

  constructor(why: 'not a number' | 'late' | 'no model') {
    super(`the policy failed: ${why}`)
    this.what = `policy failed: ${why}`
  }
}
