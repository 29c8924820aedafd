import { admitHead, type EngineState, grow, growOrPreempt, type Sequence, schedule, targetTokens } from './engine-state.ts'

/**
 * Chooses what the next step computes, in vLLM v1's order, which decides the accuracy: running calls first, in order, each
 * min(remaining, budget); the last one is preempted when blocks run short; only if nobody was preempted, waiting calls are admitted
 * first come, first served, in chunks. Ids of preempted calls go to `preempted`.
 */
export function scheduleV1(state: EngineState, preempted: number[]): void {
  let budget = state.budgetTokens
  for (let i = 0; i < state.running.length && budget > 0; i++) {
    const sequence = state.running[i] as Sequence
    const tokens = Math.min(targetTokens(sequence) - sequence.computedTokens, budget)
    if (!growOrPreempt(state, i, tokens, preempted)) break
    schedule(state, sequence, tokens)
    budget -= tokens
  }
  if (preempted.length > 0) return
  while (budget > 0) {
    const sequence = state.waiting.peek()
    if (!sequence || !admitHead(state, sequence)) return
    const tokens = Math.min(targetTokens(sequence) - sequence.computedTokens, budget)
    if (!grow(state, sequence, tokens)) throw new Error(`call ${sequence.id} was admitted without room for ${tokens} tokens`)
    schedule(state, sequence, tokens)
    budget -= tokens
  }
}

/**
 * The older vLLM v0 order: a step is either the prefill of as many waiting calls as budget, seats and blocks allow, whole prompts
 * only, which stops all decodes; or, when none can start, one decode of all running calls. A prompt above the budget is prefilled alone.
 */
export function scheduleV0(state: EngineState, preempted: number[]): void {
  if (prefillWaiting(state)) return
  for (let i = 0; i < state.running.length; i++) {
    const sequence = state.running[i] as Sequence
    if (!growOrPreempt(state, i, 1, preempted)) break
    schedule(state, sequence, 1)
  }
}

function prefillWaiting(state: EngineState): boolean {
  let budget = state.budgetTokens
  let started = false
  for (let head = state.waiting.peek(); head; head = state.waiting.peek()) {
    // Without the cache's help: v0 checked its budget before it looked for a cached prefix.
    if (started && targetTokens(head) > budget) break
    if (!admitHead(state, head)) break
    const tokens = targetTokens(head) - head.computedTokens
    if (!grow(state, head, tokens)) throw new Error(`call ${head.id} was admitted without room for ${tokens} tokens`)
    schedule(state, head, tokens)
    budget -= tokens
    started = true
  }
  return started
}
