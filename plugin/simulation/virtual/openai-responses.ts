import type { Answer } from './answer.ts'
import { namedEvent, type Renderer, type Reply, type Usage } from './renderer.ts'

/** /v1/responses: named, numbered events around one message or one function call. One answer only, as in that API. */
export function renderResponses(reply: Reply): Renderer {
  const plan = reply.answers[0] as Answer
  let sequence = 0
  const event = (type: string, fields: Record<string, unknown>): string =>
    namedEvent(type, { type, sequence_number: sequence++, ...fields })
  const place = { item_id: itemId(reply, plan), output_index: 0 }
  const textPlace = { ...place, content_index: 0 }
  const text = plan.pieces.join('')
  const before = (): string => {
    const added = event('response.output_item.added', { output_index: 0, item: item(reply, plan, { text: '', status: 'in_progress' }) })
    if (plan.tool !== undefined) return added
    return (
      added + event('response.content_part.added', { ...textPlace, part: { type: 'output_text', text: '', annotations: [], logprobs: [] } })
    )
  }
  const after = (): string => {
    const whole = item(reply, plan, { text, status: statusOf(plan) })
    const done = (): string => event('response.output_item.done', { output_index: 0, item: whole })
    if (plan.tool !== undefined)
      return event('response.function_call_arguments.done', { ...place, name: plan.tool, arguments: text }) + done()
    const textDone = event('response.output_text.done', { ...textPlace, text, logprobs: [] })
    return (
      textDone +
      event('response.content_part.done', { ...textPlace, part: { type: 'output_text', text, annotations: [], logprobs: [] } }) +
      done()
    )
  }
  return {
    open: () =>
      event('response.created', { response: body(reply, plan, 'in_progress') }) +
      event('response.in_progress', { response: body(reply, plan, 'in_progress') }),
    piece({ index }) {
      const delta = plan.pieces[index]
      const first = index === 0 ? before() : ''
      const middle =
        plan.tool === undefined
          ? event('response.output_text.delta', { ...textPlace, delta, logprobs: [] })
          : event('response.function_call_arguments.delta', { ...place, delta })
      return first + middle + (index === plan.pieces.length - 1 ? after() : '')
    },
    close(usage) {
      const status = statusOf(plan)
      return event(`response.${status}`, { response: body(reply, plan, status, usage) })
    },
    whole: (usage) => body(reply, plan, statusOf(plan), usage),
    broken: (message) => event('error', { code: 'server_error', message, param: null }),
  }
}

type Status = 'in_progress' | 'completed' | 'incomplete'

function statusOf(plan: Answer): Status {
  return plan.finish === 'length' || plan.finish === 'abort' ? 'incomplete' : 'completed'
}

function itemId(reply: Reply, plan: Answer): string {
  return `${plan.tool === undefined ? 'msg' : 'fc'}_${reply.id}`
}

function item(reply: Reply, plan: Answer, { text, status }: { readonly text: string; readonly status: Status }): unknown {
  const id = itemId(reply, plan)
  if (plan.tool !== undefined) return { type: 'function_call', id, call_id: `call_${reply.id}`, name: plan.tool, arguments: text, status }
  const content = status === 'in_progress' ? [] : [{ type: 'output_text', text, annotations: [], logprobs: [] }]
  return { type: 'message', id, role: 'assistant', status, content }
}

function body(reply: Reply, plan: Answer, status: Status, usage?: Usage): unknown {
  return {
    id: `resp_${reply.id}`,
    object: 'response',
    created_at: reply.createdUnixS,
    status,
    error: null,
    incomplete_details: status === 'incomplete' ? { reason: plan.finish === 'abort' ? 'abort' : 'max_output_tokens' } : null,
    instructions: null,
    metadata: {},
    model: reply.demand.model,
    output: status === 'in_progress' ? [] : [item(reply, plan, { text: plan.pieces.join(''), status })],
    parallel_tool_calls: true,
    temperature: 1,
    tool_choice: 'auto',
    tools: [],
    top_p: 1,
    usage: usage && {
      input_tokens: usage.promptTokens,
      input_tokens_details: { cached_tokens: usage.cachedTokens },
      output_tokens: usage.outputTokens,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: usage.promptTokens + usage.outputTokens,
    },
  }
}
