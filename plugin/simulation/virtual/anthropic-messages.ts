import type { Answer } from './answer.ts'
import { namedEvent, type Renderer, type Reply, type Usage } from './renderer.ts'

/** Anthropic's /v1/messages, which vLLM serves too: one content block, text or tool use. */
export function renderMessages(reply: Reply): Renderer {
  const plan = reply.answers[0] as Answer
  const toolId = `toolu_${reply.id}`
  const emptyBlock = plan.tool === undefined ? { type: 'text', text: '' } : { type: 'tool_use', id: toolId, name: plan.tool, input: {} }
  return {
    open: (usage) =>
      namedEvent('message_start', {
        type: 'message_start',
        message: envelope(reply, { content: [], stopReason: null, usage: { ...usage, outputTokens: 0 } }),
      }),
    piece({ index }) {
      const piece = plan.pieces[index]
      const delta = plan.tool === undefined ? { type: 'text_delta', text: piece } : { type: 'input_json_delta', partial_json: piece }
      const event = namedEvent('content_block_delta', { type: 'content_block_delta', index: 0, delta })
      const start =
        index === 0 ? namedEvent('content_block_start', { type: 'content_block_start', index: 0, content_block: emptyBlock }) : ''
      const stop = index === plan.pieces.length - 1 ? namedEvent('content_block_stop', { type: 'content_block_stop', index: 0 }) : ''
      return start + event + stop
    },
    close: ({ outputTokens }) =>
      namedEvent('message_delta', {
        type: 'message_delta',
        delta: { stop_reason: stopReason(plan), stop_sequence: plan.stopped ?? null },
        usage: { output_tokens: outputTokens },
      }) + namedEvent('message_stop', { type: 'message_stop' }),
    whole: (usage) => envelope(reply, { content: [fullBlock(plan, toolId)], stopReason: stopReason(plan), usage }),
    broken: (message) => namedEvent('error', anthropicError({ type: 'api_error', message })),
  }
}

/** An error as Anthropic words it. */
export function anthropicError(error: { readonly type: string; readonly message: string }): unknown {
  return { type: 'error', error }
}

function stopReason(plan: Answer): string {
  if (plan.finish === 'tool') return 'tool_use'
  if (plan.finish === 'length') return 'max_tokens'
  if (plan.finish === 'abort') return 'abort'
  return plan.stopped === undefined ? 'end_turn' : 'stop_sequence'
}

function fullBlock(plan: Answer, toolId: string): unknown {
  const text = plan.pieces.join('')
  if (plan.tool === undefined) return { type: 'text', text }
  // Arguments cut by max_tokens are no JSON: what arrived is shown as text, because input must be an object.
  return plan.finish === 'tool' ? { type: 'tool_use', id: toolId, name: plan.tool, input: JSON.parse(text) } : { type: 'text', text }
}

function envelope(
  reply: Reply,
  fill: { readonly content: readonly unknown[]; readonly stopReason: string | null; readonly usage: Usage },
): unknown {
  const stopped = fill.stopReason === 'stop_sequence' ? (reply.answers[0]?.stopped ?? null) : null
  return {
    id: `msg_${reply.id}`,
    type: 'message',
    role: 'assistant',
    content: fill.content,
    model: reply.demand.model,
    stop_reason: fill.stopReason,
    stop_sequence: stopped,
    usage: { input_tokens: fill.usage.promptTokens, output_tokens: fill.usage.outputTokens },
  }
}
