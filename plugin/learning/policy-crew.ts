import { Worker } from 'node:worker_threads'
import { Domain, type DomainSpec } from './policy-domain.ts'
import type { Objective } from './policy-objective.ts'
import type { TaskPlan } from './policy-tasks.ts'
import { Judge, type Judged, type Judging, type WorkerData } from './policy-worker.ts'

/** Judges many candidates on many tasks. */
export interface Crew {
  /** Losses [candidate][task], in the order given; the same whatever the number of workers. Rejects when the crew was closed. */
  judge(plans: readonly TaskPlan[], candidates: readonly Float32Array[]): Promise<number[][]>
  close(): Promise<void>
}

/** Candidates per message: small enough to share out evenly at the end of a generation. */
const PART = 8

/** A crew of so many worker threads; none judges in this thread, giving way to others between messages. */
export async function openCrew(parts: {
  readonly spec: DomainSpec
  readonly objective: Objective
  readonly workers: number
}): Promise<Crew> {
  const { spec, objective, workers } = parts
  const hands =
    workers > 0 ? await Promise.all(Array.from({ length: workers }, () => startWorker({ spec, objective }))) : [await sameThread(parts)]
  let id = 0
  return {
    async judge(plans, candidates) {
      const losses = candidates.map(() => new Array<number>(plans.length).fill(Number.NaN))
      const parcels = plans.flatMap((plan, task) =>
        Array.from({ length: Math.ceil(candidates.length / PART) }, (_, k) => ({ plan, task, from: k * PART })),
      )
      const work = async (hand: Hand): Promise<void> => {
        for (let parcel = parcels.shift(); parcel; parcel = parcels.shift()) {
          const { plan, task, from } = parcel
          const judged = await hand.ask({ id: id++, plan, candidates: candidates.slice(from, from + PART) })
          for (const [k, loss] of judged.losses.entries()) (losses[from + k] as number[])[task] = loss
        }
      }
      await Promise.all(hands.map(work))
      return losses
    },
    async close() {
      await Promise.all(hands.map((hand) => hand.close()))
    },
  }
}

interface Hand {
  ask(judging: Judging): Promise<Judged>
  close(): Promise<void>
}

async function sameThread({ spec, objective }: WorkerData): Promise<Hand> {
  const judge = new Judge(await Domain.open(spec), objective)
  return {
    async ask(judging) {
      await new Promise((done) => setImmediate(done))
      return judge.judge(judging)
    },
    close: async () => undefined,
  }
}

function startWorker(data: WorkerData): Promise<Hand> {
  const worker = new Worker(new URL('./policy-worker.ts', import.meta.url), { workerData: data })
  let waiting: { readonly resolve: (judged: Judged) => void; readonly reject: (error: Error) => void } | undefined
  const hand: Hand = {
    ask: (judging) =>
      new Promise((resolve, reject) => {
        waiting = { resolve, reject }
        worker.postMessage(judging)
      }),
    async close() {
      await worker.terminate()
    },
  }
  return new Promise((ready, failed) => {
    worker.on('message', (message: 'ready' | Judged) => {
      if (message === 'ready') ready(hand)
      else waiting?.resolve(message)
    })
    const fail = (error: Error): void => {
      waiting?.reject(error)
      failed(error)
    }
    worker.on('error', fail)
    worker.on('exit', () => fail(new Error('a training worker ended')))
  })
}
