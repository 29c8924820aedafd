import type { Clock } from '../clock.ts'
import { profileNamed } from './profiles.ts'
import { startVirtualInstance, type VirtualInstance } from './virtual-instance.ts'

/** One virtual instance as written in a list, plain JSON. */
export interface VirtualInstanceSpec {
  readonly name: string
  /** Name of a shipped profile. */
  readonly profile: string
  /** 0, the default, takes a free port. */
  readonly port?: number
  readonly host?: string
  readonly models?: readonly string[]
  /** Times faster than the profile; 1 by default. */
  readonly timeFactor?: number
  readonly kvBlocks?: number
  readonly seats?: number
  readonly prefixCache?: boolean
  readonly maxQueued?: number
  readonly apiKey?: string
}

/** The model that virtual instances serve where nothing else is said. */
export const VIRTUAL_MODEL = 'llama-2-7b'

/**
 * The embedded fleet: two slow and two fast instances. KV memory is that of a 32 GB V100 (22,000 tokens) and an 80 GB A100
 * (110,000 tokens): 90 % of the card less 13.5 GB of weights and what activations need, over 512 KiB per token. Both run vLLM v1
 * order, so that a long prompt slows the others' tokens on the V100s but never stops them.
 */
export const defaultVirtualFleet: readonly VirtualInstanceSpec[] = [
  { name: 'v100-1', profile: 'v100-llama-2-7b' },
  { name: 'v100-2', profile: 'v100-llama-2-7b' },
  { name: 'a100-1', profile: 'a100-llama-2-7b' },
  { name: 'a100-2', profile: 'a100-llama-2-7b' },
]

export interface VirtualFleet {
  readonly instances: readonly VirtualInstance[]
  close(): Promise<void>
}

/** Starts every instance of the list in this process. Rejects, with all of them closed again, when one cannot start; the message names it. */
export async function startVirtualFleet(parts: {
  readonly specs: readonly VirtualInstanceSpec[]
  readonly clock: Clock
}): Promise<VirtualFleet> {
  const started = await Promise.allSettled(parts.specs.map((spec) => runVirtualInstance({ ...spec, clock: parts.clock })))
  const instances = started.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const close = async (): Promise<void> => {
    await Promise.all(instances.map((instance) => instance.close()))
  }
  const failed = started.findIndex((result) => result.status === 'rejected')
  if (failed >= 0) {
    await close()
    throw new Error(`virtual instance ${parts.specs[failed]?.name} did not start`, {
      cause: (started[failed] as PromiseRejectedResult).reason,
    })
  }
  return { instances, close }
}

/** Starts one virtual instance from its plain description. Throws on an unknown profile, rejects when the port is taken. */
export async function runVirtualInstance({
  profile,
  port = 0,
  models = [VIRTUAL_MODEL],
  ...rest
}: VirtualInstanceSpec & { readonly clock: Clock }): Promise<VirtualInstance> {
  return startVirtualInstance({ ...rest, profile: profileNamed(profile), port, models })
}
