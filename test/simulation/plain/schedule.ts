import { admitHead, type EngineState, grow, growOrPreempt, type Sequence, targetTokens } from './state.ts'

/**
 * Chooses what the next step computes, in vLLM v1's order, which decides the accuracy: running calls first, in order, each
 * min(remaining, budget); the last one is preempted when blocks run short; only if nobody was preempted, waiting calls are admitted
 * first come, first served, in chunks. Ids of preempted calls go to `preempted`.
 */
export function scheduleV1(state: EngineState, preempted: number[]): void {
  let budget = state.budgetTokens
  const done = new Set<Sequence>()
  const given = new Map<Sequence, number>()
  for (;;) {
    const sequence = budget > 0 ? state.running.find((one) => !done.has(one)) : undefined
    if (!sequence) break
    const tokens = Math.min(targetTokens(sequence) - sequence.computedTokens, budget)
    const before = [...done]
    const granted = growOrPreempt(state, sequence, tokens, preempted)
    // Under priority scheduling a call that was given tokens before may be the one that has to go: its tokens come back.
    for (const one of before) {
      if (state.running.includes(one)) continue
      budget += given.get(one) ?? 0
      done.delete(one)
    }
    if (!granted) break
    sequence.scheduledTokens = tokens
    given.set(sequence, tokens)
    done.add(sequence)
    budget -= tokens
  }
  if (preempted.length > 0) return
  while (budget > 0) {
    const sequence = state.waiting.peek()
    if (!sequence || !admitHead(state, sequence)) return
    const tokens = Math.min(targetTokens(sequence) - sequence.computedTokens, budget)
    if (!grow(state, sequence, tokens)) throw new Error(`call ${sequence.id} was admitted without room for ${tokens} tokens`)
    sequence.scheduledTokens = tokens
    budget -= tokens
  }
}

/**
 * The older vLLM v0 order: a step is either the prefill of as many waiting calls as budget, seats and blocks allow, whole prompts
 * only, which stops all decodes; or, when none can start, one decode of all running calls. A prompt above the budget is prefilled alone.
 */
export function scheduleV0(state: EngineState, preempted: number[]): void {
  if (prefillWaiting(state)) return
  const done = new Set<Sequence>()
  for (let sequence = state.running[0]; sequence; sequence = state.running.find((one) => !done.has(one))) {
    if (!growOrPreempt(state, sequence, 1, preempted)) break
    sequence.scheduledTokens = 1
    done.add(sequence)
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
    head.scheduledTokens = tokens
    budget -= tokens
    started = true
  }
  return started
}
