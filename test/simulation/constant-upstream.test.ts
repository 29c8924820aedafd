import OpenAI from 'openai'
import { expect, test } from 'vitest'
import { startConstantUpstream } from '../../plugin/simulation/constant-upstream.ts'

test('the constant upstream answers a real client, whole and streamed', async () => {
  const ask = { model: 'm', messages: [{ role: 'user' as const, content: 'x' }] }
  const whole = await startConstantUpstream({ model: 'm', delayMs: 1 })
  const streamed = await startConstantUpstream({ model: 'm', streamChunks: 5 })
  const client = (url: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 })
  expect((await client(whole.url).chat.completions.create(ask)).usage?.completion_tokens).toBe(7)
  const final = await client(streamed.url).chat.completions.stream(ask).finalChatCompletion()
  expect(final.choices[0]!.message.content).toBe(' same'.repeat(5))
  expect((await client(whole.url).models.list()).data[0]!.id).toBe('m')
  expect([whole.calls(), streamed.calls()]).toEqual([1, 1])
  await Promise.all([whole.close(), streamed.close()])
})
