import type { Answer } from './answer.ts'
import { brokenOpenai, dataEvent, type Renderer, type Reply, type Usage } from './renderer.ts'

/** OpenAI usage as vLLM reports it. */
export function openaiUsage({ promptTokens, outputTokens, cachedTokens }: Usage): unknown {
  return {
    prompt_tokens: promptTokens,
    total_tokens: promptTokens + outputTokens,
    completion_tokens: outputTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  }
}

function finishReason(answer: Answer): string {
  return answer.finish === 'tool' ? 'tool_calls' : answer.finish
}

/** /v1/chat/completions: a role chunk, a chunk per token whose last one carries the finish reason, usage when asked for, [DONE]. */
export function renderChat(reply: Reply): Renderer {
  const id = `chatcmpl-${reply.id}`
  const head = `{"id":"${id}","object":"chat.completion.chunk","created":${reply.createdUnixS},"model":${JSON.stringify(reply.demand.model)},"choices":[`
  const choice = (index: number, delta: string, finish: string): string =>
    dataEvent(`${head}{"index":${index},"delta":${delta},"logprobs":null,"finish_reason":${finish}}]}`)
  const toolId = (answer: number): string => `chatcmpl-tool-${reply.id}${answer}`
  return {
    open: () => '',
    piece({ answer, index }) {
      const plan = reply.answers[answer] as Answer
      const text = JSON.stringify(plan.pieces[index])
      const delta = plan.tool === undefined ? `{"content":${text}}` : `{"tool_calls":[{"index":0,"function":{"arguments":${text}}}]}`
      const finish =
        index === plan.pieces.length - 1 ? `"${finishReason(plan)}","stop_reason":${JSON.stringify(plan.stopped ?? null)}` : 'null'
      const event = choice(answer, delta, finish)
      if (index > 0) return event
      const named = { tool_calls: [{ index: 0, id: toolId(answer), type: 'function', function: { name: plan.tool, arguments: '' } }] }
      const call = plan.tool === undefined ? '' : choice(answer, JSON.stringify(named), 'null')
      return choice(answer, '{"role":"assistant","content":""}', 'null') + call + event
    },
    close: (usage) =>
      `${reply.demand.streamUsage ? dataEvent(`${head}],"usage":${JSON.stringify(openaiUsage(usage))}}`) : ''}data: [DONE]\n\n`,
    whole: (usage) => ({
      id,
      object: 'chat.completion',
      created: reply.createdUnixS,
      model: reply.demand.model,
      choices: reply.answers.map((answer, index) => ({
        index,
        message: message(answer, toolId(index)),
        logprobs: null,
        finish_reason: finishReason(answer),
        stop_reason: answer.stopped ?? null,
      })),
      usage: openaiUsage(usage),
    }),
    broken: brokenOpenai,
  }
}

function message(answer: Answer, toolId: string): unknown {
  const text = answer.pieces.join('')
  if (answer.tool === undefined) return { role: 'assistant', content: text, refusal: null, tool_calls: [] }
  return {
    role: 'assistant',
    content: null,
    refusal: null,
    tool_calls: [{ id: toolId, type: 'function', function: { name: answer.tool, arguments: text } }],
  }
}
