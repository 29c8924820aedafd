import type { Answer } from './answer.ts'
import { openaiUsage } from './openai-chat.ts'
import { brokenOpenai, dataEvent, type Renderer, type Reply } from './renderer.ts'

/** /v1/completions: a chunk per token whose last one carries the finish reason, usage when asked for, [DONE]. */
export function renderCompletions(reply: Reply): Renderer {
  const id = `cmpl-${reply.id}`
  const head = `{"id":"${id}","object":"text_completion","created":${reply.createdUnixS},"model":${JSON.stringify(reply.demand.model)},"choices":[`
  return {
    open: () => '',
    piece({ answer, index }) {
      const plan = reply.answers[answer] as Answer
      const last = index === plan.pieces.length - 1
      const finish = last ? `"${plan.finish}","stop_reason":${JSON.stringify(plan.stopped ?? null)}` : 'null,"stop_reason":null'
      return dataEvent(
        `${head}{"index":${answer},"text":${JSON.stringify(plan.pieces[index])},"logprobs":null,"finish_reason":${finish}}]}`,
      )
    },
    close: (usage) =>
      `${reply.demand.streamUsage ? dataEvent(`${head}],"usage":${JSON.stringify(openaiUsage(usage))}}`) : ''}data: [DONE]\n\n`,
    whole: (usage) => ({
      id,
      object: 'text_completion',
      created: reply.createdUnixS,
      model: reply.demand.model,
      choices: reply.answers.map((answer, index) => ({
        index,
        text: answer.pieces.join(''),
        logprobs: null,
        finish_reason: answer.finish,
        stop_reason: answer.stopped ?? null,
      })),
      usage: openaiUsage(usage),
    }),
    broken: brokenOpenai,
  }
}
