/** Time constant of the shares. The issue of fairness is a caller's minute: older arrivals weigh 1/e per minute. */
const MEMORY_MS = 60_000
/** Weights grow by e per minute; they are brought back to 1 before a double loses digits. */
const REBASE_WEIGHT = 1e6
/** A tenant whose counts have faded below this (in calls of now) and who waits for nothing is forgotten. */
const FORGET_CALLS = 1e-3

/** Groups told apart; callers name them, so that there must be an end. Further ones count in the totals alone and are owed nothing. */
const TENANTS_MAX = 10_000

interface Tenant {
  arrived: number
  started: number
  waiting: number
}

/**
 * Who arrived and who was started over about the last minute, per fairness group. Instead of fading every count at every moment, a new one
 * weighs e^(t/minute) more than an old one; only ratios are ever asked for, so that the common factor cancels.
 */
export class FairShare {
  readonly #floorRatio: number
  readonly #tenants = new Map<string, Tenant>()
  /** Tenants with calls waiting now. */
  readonly #waiting = new Set<string>()
  #baseMs = Number.NaN
  #arrived = 0
  #started = 0

  /** `floorRatio`: a tenant's share of starts is kept above this times its share of arrivals; 0 is off. */
  constructor(floorRatio: number) {
    this.#floorRatio = floorRatio
  }

  /** A call came and was started at once. */
  passed(name: string, nowMs: number): void {
    if (this.#floorRatio === 0) return
    const weight = this.#weight(nowMs)
    const tenant = this.#arrive(name, weight)
    tenant.started += weight
    this.#started += weight
  }

  /** A call came and waits. */
  joined(name: string, nowMs: number): void {
    if (this.#floorRatio === 0) return
    this.#arrive(name, this.#weight(nowMs)).waiting++
    if (this.#tenants.has(name)) this.#waiting.add(name)
  }

  /** A call of this tenant left the queue: started, or given up by its caller. */
  left(name: string, started: boolean, nowMs: number): void {
    const tenant = this.#tenants.get(name)
    if (!tenant) return
    tenant.waiting--
    if (tenant.waiting === 0) this.#waiting.delete(name)
    if (!started) return
    const weight = this.#weight(nowMs)
    tenant.started += weight
    this.#started += weight
  }

  /** The waiting tenant that is furthest behind its floor, by at least one call; undefined while nobody is. */
  owed(nowMs: number): string | undefined {
    if (this.#floorRatio === 0 || this.#waiting.size < 2) return undefined
    const oneCall = this.#weight(nowMs)
    let most = oneCall
    let owed: string | undefined
    for (const name of this.#waiting) {
      const tenant = this.#tenants.get(name) as Tenant
      const behind = (this.#floorRatio * tenant.arrived * this.#started) / this.#arrived - tenant.started
      if (behind < most) continue
      most = behind
      owed = name
    }
    return owed
  }

  #arrive(name: string, weight: number): Tenant {
    let tenant = this.#tenants.get(name)
    if (!tenant) {
      tenant = { arrived: 0, started: 0, waiting: 0 }
      if (this.#tenants.size < TENANTS_MAX) this.#tenants.set(name, tenant)
    }
    tenant.arrived += weight
    this.#arrived += weight
    return tenant
  }

  #weight(nowMs: number): number {
    if (Number.isNaN(this.#baseMs)) this.#baseMs = nowMs
    const weight = Math.exp((nowMs - this.#baseMs) / MEMORY_MS)
    if (weight < REBASE_WEIGHT) return weight
    this.#arrived = 0
    this.#started = 0
    for (const [name, tenant] of this.#tenants) {
      tenant.arrived /= weight
      tenant.started /= weight
      if (tenant.waiting === 0 && tenant.arrived < FORGET_CALLS) this.#tenants.delete(name)
      this.#arrived += tenant.arrived
      this.#started += tenant.started
    }
    this.#baseMs = nowMs
    return 1
  }
}
