import { parentPort, workerData } from 'node:worker_threads'
import { Domain, type DomainSpec, type Task } from './policy-domain.ts'
import { lossOf, type Objective, playModel, playReferences, type References } from './policy-objective.ts'
import type { TaskPlan } from './policy-tasks.ts'

/** What a worker is asked: the losses of these candidates on one task. */
export interface Judging {
  readonly id: number
  readonly plan: TaskPlan
  readonly candidates: readonly Float32Array[]
}

export interface Judged {
  readonly id: number
  readonly losses: readonly number[]
}

export interface WorkerData {
  readonly spec: DomainSpec
  readonly objective: Objective
}

/** Judges as it is asked; the last tasks stay opened, since their candidates come in several parts. */
export class Judge {
  readonly #domain: Domain
  readonly #objective: Objective
  readonly #opened = new Map<string, { readonly task: Task; readonly references: References }>()

  constructor(domain: Domain, objective: Objective) {
    this.#domain = domain
    this.#objective = objective
  }

  judge({ id, plan, candidates }: Judging): Judged {
    const { task, references } = this.#open(plan)
    const given = { over: plan.over, goal: plan.goal, objective: this.#objective }
    return { id, losses: candidates.map((parameters) => lossOf(playModel(task, this.#objective, parameters), references, given)) }
  }

  #open(plan: TaskPlan): { readonly task: Task; readonly references: References } {
    const key = JSON.stringify(plan)
    const known = this.#opened.get(key)
    if (known) return known
    if (this.#opened.size >= OPENED_MAX) this.#opened.delete(this.#opened.keys().next().value as string)
    const task = this.#domain.open(plan)
    const made = { task, references: playReferences(task, this.#objective) }
    this.#opened.set(key, made)
    return made
  }
}

/** Tasks kept with their calls: one generation's. */
const OPENED_MAX = 40

if (parentPort) {
  const { spec, objective } = workerData as WorkerData
  const judge = new Judge(await Domain.open(spec), objective)
  parentPort.on('message', (asked: Judging) => parentPort?.postMessage(judge.judge(asked)))
  parentPort.postMessage('ready')
}
