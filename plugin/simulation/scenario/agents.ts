import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Rng } from '../../rng.ts'
import { sealOutput } from '../fleet/truth.ts'
import { callerOf, describeCall, type TwinCall } from '../fleet/twin-call.ts'
import { KV_BLOCK_TOKENS } from '../profiles.ts'
import { logNormal } from '../tasks.ts'
import { BYTES_PER_TOKEN, blockHashesOf, countTokens } from '../tokens.ts'
import { poissonGaps } from './arrivals.ts'
import { type ErrorPlan, predictionOf } from './length-errors.ts'

/** Sessions of agents that send their whole history with each step, so that every prompt is the last one, its answer and something new. */
export interface AgentPlan extends ErrorPlan {
  readonly sessionsPerS: number
  readonly sessions: number
  /** Tokens of the instructions that all sessions share. */
  readonly systemTokens: number
  /** Steps of a session: mean of a geometric distribution, at least 1. */
  readonly meanSteps: number
  /** Mean new tokens per step (a command's output, a document), and mean answer. */
  readonly newTokens: number
  readonly outputTokens: number
  /** From one step's arrival to the next: what the agent's tools and the answer take, mean ms, exponential. */
  readonly stepMs: number
  readonly rng: Rng
}

/** As measured over the mini-SWE sessions of lmcache-agent-trace: 3,000 tokens of instructions, ten steps, 110 tokens of answer. */
export const AGENT_PLAN = { systemTokens: 1000, meanSteps: 10, newTokens: 400, outputTokens: 110, stepMs: 3000 } as const

const PREFIX_BLOCK_TOKENS = 64
const SPREAD = 0.8
/** No session grows beyond this: agents summarise before their context is full. */
const CONTEXT_TOKENS_MAX = 30_000

/** Generated agent sessions, in order of time. */
export function generateAgents(plan: AgentPlan): TwinCall[] {
  const { rng } = plan
  const gapMs = poissonGaps(plan.sessionsPerS, rng.stream('sessions'))
  const contents = rng.stream('contents')
  const errors = rng.stream('prediction errors')
  let startMs = 0
  const steps: { atMs: number; promptTokens: number; outputTokens: number; session: number }[] = []
  for (let session = 0; session < plan.sessions; session++) {
    startMs += gapMs()
    let atMs = startMs
    let promptTokens = plan.systemTokens + drawTokens(plan.newTokens, contents)
    do {
      const outputTokens = drawTokens(plan.outputTokens, contents)
      steps.push({ atMs, promptTokens, outputTokens, session })
      promptTokens += outputTokens + drawTokens(plan.newTokens, contents)
      atMs += contents.exponential() * plan.stepMs
    } while (contents.next() >= 1 / plan.meanSteps && promptTokens < CONTEXT_TOKENS_MAX)
  }
  const caller = callerOf('agent')
  return steps
    .sort((a, b) => a.atMs - b.atMs)
    .map(({ atMs, promptTokens, outputTokens, session }, i) => {
      const known = promptTokens + outputTokens
      return {
        atMs,
        promptTokens,
        outputTokens: sealOutput(outputTokens),
        ...predictionOf(outputTokens, plan, errors),
        call: describeCall({
          id: i + 1,
          atMs,
          promptTokens,
          caller,
          prefixBlocks: BigUint64Array.from({ length: Math.floor(promptTokens / PREFIX_BLOCK_TOKENS) }, (_, block) =>
            BigInt(blockOf(session, block * PREFIX_BLOCK_TOKENS, plan.systemTokens) + 1),
          ),
        }),
        blockHashes: Float64Array.from({ length: Math.floor(known / KV_BLOCK_TOKENS) }, (_, block) =>
          blockOf(session, block * KV_BLOCK_TOKENS, plan.systemTokens),
        ),
      }
    })
}

/** A number for the block of a session that starts at a token: the same in all sessions while it lies in the shared instructions. */
function blockOf(session: number, startTokens: number, systemTokens: number): number {
  const shared = startTokens < systemTokens
  return (shared ? 0 : (session + 1) * 1_000_000) + startTokens
}

function drawTokens(mean: number, rng: Rng): number {
  return Math.max(1, Math.round(logNormal({ mean, cv: SPREAD }, rng)))
}

/**
 * The recorded sessions of lmcache-agent-trace (`*.jsonl`, one step per line with its text), each started anew after an exponential time and at its own pace;
 * shared beginnings are those of the texts themselves.
 */
export function readAgentSessions(folder: string, plan: { readonly sessionsPerS: number; readonly rng: Rng } & ErrorPlan): TwinCall[] {
  const gapMs = poissonGaps(plan.sessionsPerS, plan.rng.stream('sessions'))
  const errors = plan.rng.stream('prediction errors')
  const caller = callerOf('agent')
  let startMs = 0
  const steps = globSync('**/*.jsonl', { cwd: folder })
    .sort()
    .flatMap((file) => {
      startMs += gapMs()
      const rows = readFileSync(join(folder, file), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { readonly timestamp: number; readonly input: string; readonly output: string })
        .sort((a, b) => a.timestamp - b.timestamp)
      const firstUs = rows[0]?.timestamp ?? 0
      return rows.map((row) => ({ atMs: startMs + (row.timestamp - firstUs) / 1000, input: row.input, output: row.output }))
    })
  return steps
    .sort((a, b) => a.atMs - b.atMs)
    .map(({ atMs, input, output }, i) => {
      const promptTokens = countTokens(input)
      const outputTokens = countTokens(output)
      const hashes = blockHashesOf(input)
      return {
        atMs,
        promptTokens,
        outputTokens: sealOutput(outputTokens),
        ...predictionOf(outputTokens, plan, errors),
        call: describeCall({
          id: i + 1,
          atMs,
          promptTokens,
          caller,
          prefixBlocks: BigUint64Array.from({ length: Math.floor((promptTokens * BYTES_PER_TOKEN) / 256) }, (_, block) =>
            BigInt(hashes[4 * block + 3] ?? 0),
          ),
        }),
        blockHashes: hashes,
      }
    })
}
