import { Agent } from 'undici'
import { systemClock } from '../../../plugin/clock.ts'
import { createRng } from '../../../plugin/rng.ts'
import { sendCall } from '../../../plugin/simulation/call-client.ts'
import { VIRTUAL_MODEL } from '../../../plugin/simulation/virtual-fleet.ts'

/** Short streamed calls, so many at once, until it is stopped. */
export function sendSteadily({ url, atOnce }: { readonly url: string; readonly atOnce: number }): {
  answeredBy(instance: string): number
  stop(): Promise<void>
} {
  const dispatcher = new Agent({ connections: atOnce })
  const answered = new Map<string, number>()
  const rng = createRng(11)
  let isOver = false
  const body = JSON.stringify({ model: VIRTUAL_MODEL, messages: [{ role: 'user', content: 'Name the team that answers.' }], stream: true })
  const one = async (): Promise<void> => {
    while (!isOver) {
      const headers = { 'content-type': 'application/json', 'x-virtual-output-tokens': String(8 + rng.int(20)) }
      const { instance, ok } = await sendCall(
        { origin: url, path: '/v1/chat/completions', headers, body },
        { dispatcher, clock: systemClock },
      )
      if (ok && instance !== undefined) answered.set(instance, (answered.get(instance) ?? 0) + 1)
    }
  }
  const lanes = Array.from({ length: atOnce }, one)
  return {
    answeredBy: (instance) => answered.get(instance) ?? 0,
    async stop() {
      isOver = true
      await Promise.all(lanes)
      await dispatcher.close()
    },
  }
}
