import { z } from 'zod'
import { type SimpleCoefficients, type StepLaw, simpleLaw } from '../impact/step.ts'
import fittedProfiles from './fitted-profiles.json' with { type: 'json' }
import { PROFILE_SCHEMA } from './profile-schema.ts'

/** One instance type: its step law and the engine settings that decide what fits. Plain JSON. */
export interface Profile {
  readonly name: string
  /** As people read it. */
  readonly label: string
  readonly law: StepLaw
  /** 'v1': chunked prefill beside decodes; 'v0': a step is either prefill, which stops all decodes, or decode. */
  readonly order: 'v0' | 'v1'
  /** KV blocks of 16 tokens. */
  readonly kvBlocks: number
  readonly seats: number
  readonly budgetTokens: number
  readonly prefixCache: boolean
  /** Share of the KV that admission may fill, 0..1. */
  readonly admissionKvRatio: number
}

/** Tokens per KV block, vLLM's default on GPUs. */
export const KV_BLOCK_TOKENS = 16

const V1 = { order: 'v1', seats: 256, budgetTokens: 2048, prefixCache: true, admissionKvRatio: 1 } as const
const NO_HEAD = { baseMs: 0, perCallMs: 0 }
const NO_PREFILL_ATTENTION = { baseMs: 0, perTokenMs: 0, perCachedProductMs: 0, perSquareMs: 0 }

interface FittedRow {
  readonly name: string
  readonly label: string
  /** Two lines as [base, per token]. */
  readonly dense: readonly [readonly [number, number], readonly [number, number]]
  readonly head?: readonly [number, number]
  readonly decode: readonly [number, number, number]
  /** [base, per token, per c·k, per c²/2]. */
  readonly prefill?: readonly [number, number, number, number]
  readonly kvBlocks: number
}

function fitted(row: FittedRow): Profile {
  const [decodeBase, decodePerCall, decodePerContext] = row.decode
  const prefill = row.prefill
  return {
    name: row.name,
    label: row.label,
    law: {
      dense: row.dense.map(([baseMs, perTokenMs]) => ({ baseMs, perTokenMs })),
      head: row.head ? { baseMs: row.head[0], perCallMs: row.head[1] } : NO_HEAD,
      decode: { baseMs: decodeBase, perCallMs: decodePerCall, perContextTokenMs: decodePerContext },
      prefill: prefill
        ? { baseMs: prefill[0], perTokenMs: prefill[1], perCachedProductMs: prefill[2], perSquareMs: prefill[3] }
        : NO_PREFILL_ATTENTION,
    },
    kvBlocks: row.kvBlocks,
    ...V1,
  }
}

/**
 * Coefficients fitted from published per-operator measurements: Vidur (Agrawal et al., MLSys 2024) for A100 and H100,
 * LLMServingSim (Cho et al., IISWC 2024) for the RTX cards. The V100 row is derived from the two plots of Jain et al.
 * (arXiv 2408.13510), not measured; its context slope is the middle of the range they allow.
 *
 * KV blocks: RTX 4090 as its real vLLM run reports; elsewhere chosen from memory: 90 % of the card less the bf16 weights
 * (13.5 GB and 16.1 GB) and about 2 to 4 GB for activations and graphs, over 512 KiB (Llama-2-7B) or 128 KiB (8B) per token.
 */
const FITTED: readonly FittedRow[] = [
  {
    name: 'rtx4090-llama-3.1-8b',
    label: 'RTX 4090, Llama-3.1-8B',
    dense: [
      [15.463, 0.03227],
      [5.211, 0.08802],
    ],
    head: [1.104, 0.00302],
    decode: [0.38, 0.0039, 1.42e-4],
    prefill: [0.28, 3.3e-4, 2.23e-6, 5.3e-6],
    kvBlocks: 2588,
  },
  {
    name: 'rtxpro6000-llama-3.1-8b',
    label: 'RTX PRO 6000, Llama-3.1-8B',
    dense: [
      [9.929, 0.01766],
      [5.265, 0.03521],
    ],
    head: [0.703, 0.00109],
    decode: [0.45, 0.003, 8.9e-5],
    prefill: [0.24, 2.4e-4, 1.26e-6, 2.78e-6],
    kvBlocks: 32_000,
  },
  {
    name: 'a100-llama-2-7b',
    label: 'A100, Llama-2-7B',
    dense: [
      [9.051, 0.01176],
      [2.154, 0.06408],
    ],
    decode: [0, 0, 3.7e-4],
    // 80 GB card: 110,000 tokens, the figure of the scenario `a100-7b`.
    kvBlocks: 6875,
  },
  {
    name: 'a100-llama-3-8b',
    label: 'A100, Llama-3-8B',
    dense: [
      [9.791, 0.02225],
      [4.116, 0.06811],
    ],
    decode: [0, 0, 9.2e-5],
    kvBlocks: 25_000,
  },
  {
    name: 'h100-llama-2-7b',
    label: 'H100, Llama-2-7B',
    dense: [
      [5.546, 0.00645],
      [3.742, 0.01952],
    ],
    decode: [0, 0, 2.2e-4],
    kvBlocks: 6875,
  },
  {
    name: 'v100-llama-2-7b',
    label: 'V100, Llama-2-7B',
    dense: [
      [33, 0],
      [2, 0.32],
    ],
    decode: [0, 0, 7.5e-4],
    // 32 GB card: 22,000 tokens, the figure of the scenario `v100-32g`.
    kvBlocks: 1375,
  },
]

interface ScenarioRow extends SimpleCoefficients {
  readonly name: string
  readonly label: string
  readonly order: 'v0' | 'v1'
  readonly kvTokens: number
  readonly budgetTokens: number
}

function scenario({ name, label, order, kvTokens, budgetTokens, ...coefficients }: ScenarioRow): Profile {
  return {
    name,
    label,
    law: simpleLaw(coefficients),
    order,
    kvBlocks: Math.floor(kvTokens / KV_BLOCK_TOKENS),
    seats: 256,
    budgetTokens,
    prefixCache: order === 'v1',
    admissionKvRatio: 0.99,
  }
}

/** The named scenarios' own simple profiles; `v100-paper` comes from the paper's two plots, its KV from the rate at which its load drains. */
const SCENARIOS: readonly ScenarioRow[] = [
  {
    name: 'v100-paper',
    label: 'V100 as in the paper',
    order: 'v0',
    t0: 33,
    a: 0.32,
    a2: 0,
    b: 0,
    c: 5e-4,
    kvTokens: 8192,
    budgetTokens: 4096,
  },
  {
    name: 'v100-32g',
    label: 'V100 32 GB',
    order: 'v0',
    t0: 16.5,
    a: 0.26,
    a2: 6e-6,
    b: 0.12,
    c: 6.5e-4,
    kvTokens: 22_000,
    budgetTokens: 4096,
  },
  {
    name: 'a100-7b',
    label: 'A100, 7B',
    order: 'v1',
    t0: 8.5,
    a: 0.075,
    a2: 1.5e-6,
    b: 0.05,
    c: 3.4e-4,
    kvTokens: 110_000,
    budgetTokens: 2048,
  },
  {
    name: 'a100-8b',
    label: 'A100, 8B',
    order: 'v1',
    t0: 9.5,
    a: 0.085,
    a2: 1.5e-6,
    b: 0.05,
    c: 0.9e-4,
    kvTokens: 400_000,
    budgetTokens: 2048,
  },
]

/** Fitted by `npm run bench -- profiles --write` from public measurements; the file holds the errors of each fit. */
const FITTED_BY_SCRIPT: readonly Profile[] = z.array(PROFILE_SCHEMA).parse(fittedProfiles)

/** Every shipped profile by name. */
export const PROFILES: ReadonlyMap<string, Profile> = new Map(
  [...FITTED.map(fitted), ...SCENARIOS.map(scenario), ...FITTED_BY_SCRIPT].map((profile) => [profile.name, profile]),
)

/** The shipped profile called `name`; throws with the list of names where there is none. */
export function profileNamed(name: string): Profile {
  const profile = PROFILES.get(name)
  if (!profile) throw new Error(`no profile called "${name}"; there are: ${[...PROFILES.keys()].join(', ')}`)
  return profile
}
