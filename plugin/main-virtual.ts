import { systemClock } from './clock.ts'
import { type Running, runChild, type StartMessage } from './main-child.ts'
import { createRng } from './rng.ts'
import { runDemoLoad } from './simulation/demo-load.ts'
import { fleetCallsPerS } from './simulation/saturation.ts'
import {
  defaultVirtualFleet,
  runVirtualInstance,
  startVirtualFleet,
  VIRTUAL_MODEL,
  type VirtualInstanceSpec,
} from './simulation/virtual-fleet.ts'

/** The processes that exist only in the embedded default: the virtual fleet and its demo traffic. */

function embeddedSpecs({ virtual }: StartMessage): VirtualInstanceSpec[] {
  return defaultVirtualFleet.map((spec, i) => ({ ...spec, port: virtual?.ports[i] ?? 0, timeFactor: virtual?.timeFactor ?? 1 }))
}

/** The fleet process: all virtual instances, on the ports they had before when it was restarted. */
export function runFleetRole(): void {
  runChild(async (message): Promise<Running> => {
    const fleet = await startVirtualFleet({ specs: embeddedSpecs(message), clock: systemClock })
    return { facts: { urls: fleet.instances.map((one) => one.url).join(' ') }, drain: () => fleet.close() }
  })
}

/** The demo process: mixed traffic at a share of the fleet's capacity, until it is told to leave. */
export function runDemoRole(): void {
  runChild(async (message): Promise<Running> => {
    const stop = new AbortController()
    const capacityCallsPerS = fleetCallsPerS(embeddedSpecs(message))
    const load = runDemoLoad({
      url: message.virtual?.proxyUrl ?? '',
      model: VIRTUAL_MODEL,
      capacityCallsPerS,
      clock: systemClock,
      rng: createRng(systemClock.nowUnixMs() % 2 ** 32),
      signal: stop.signal,
    })
    return {
      facts: { capacityCallsPerS: capacityCallsPerS.toFixed(1) },
      async drain() {
        stop.abort()
        await load
      },
    }
  })
}

/** `phasewise virtual-instance`: one of them, until a signal ends it. */
export async function runSingleInstance(options: {
  readonly host: string
  readonly port: number
  readonly profile: string
  readonly model: string
  readonly timeFactor: number
}): Promise<void> {
  const { host, port, profile, model, timeFactor } = options
  const instance = await runVirtualInstance({ name: profile, host, port, profile, models: [model], timeFactor, clock: systemClock })
  console.log(`virtual instance ${profile} serves ${model} at ${instance.url}, ${timeFactor} times real speed`)
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => resolve())
  })
  await instance.close()
}
