import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { storedCalls } from './database.ts'
import { endAll, eventually, startInstance, startSite } from './processes.ts'

/** The official clients against the embedded proxy over two virtual instances, all of them real processes. */
let site: Awaited<ReturnType<typeof startSite>>
let openai: OpenAI
let anthropic: Anthropic
const model = 'llama-2-7b'

beforeAll(async () => {
  site = await startSite([await startInstance(), await startInstance()])
  openai = new OpenAI({
    baseURL: `${site.proxy}/v1`,
    apiKey: 'any',
    maxRetries: 0,
    defaultHeaders: { 'x-phasewise-application': 'client-test' },
  })
  anthropic = new Anthropic({ baseURL: site.proxy, apiKey: 'any', maxRetries: 0 })
})
afterAll(endAll)

test('openai: a chat completion, whole', async () => {
  const answer = await openai.chat.completions.create({
    model,
    messages: [{ role: 'user', content: 'Translate to German: good morning' }],
    max_tokens: 20,
  })
  expect(answer.choices[0]?.message.content?.length).toBeGreaterThan(0)
  expect(answer.usage?.completion_tokens).toBeLessThanOrEqual(20)
})

test('openai: a chat completion, streamed; no usage chunk where none was asked for', async () => {
  const stream = await openai.chat.completions.create({
    model,
    stream: true,
    max_tokens: 30,
    messages: [{ role: 'user', content: 'Why is the sky blue?' }],
  })
  let text = ''
  let finish: string | null = null
  for await (const chunk of stream) {
    expect(chunk.choices.length).toBe(1)
    expect(chunk.usage ?? null).toBeNull()
    text += chunk.choices[0]?.delta.content ?? ''
    finish = chunk.choices[0]?.finish_reason ?? finish
  }
  expect(text.length).toBeGreaterThan(0)
  expect(['stop', 'length']).toContain(finish)
})

test('openai: the usage chunk comes where it was asked for', async () => {
  const stream = await openai.chat.completions.create({
    model,
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: 12,
    messages: [{ role: 'user', content: 'Count to ten' }],
  })
  const usages = []
  for await (const chunk of stream) if (chunk.usage) usages.push(chunk.usage)
  expect(usages).toHaveLength(1)
  expect(usages[0]?.completion_tokens).toBeLessThanOrEqual(12)
})

test('openai: a tool call, whole and streamed', async () => {
  const request = {
    model,
    messages: [{ role: 'user' as const, content: 'What is the weather in Paris?' }],
    tools: [
      {
        type: 'function' as const,
        function: { name: 'weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } },
      },
    ],
    tool_choice: 'required' as const,
  }
  const whole = await openai.chat.completions.create(request)
  const call = whole.choices[0]?.message.tool_calls?.[0]
  expect(call?.type === 'function' && call.function.name).toBe('weather')
  expect(whole.choices[0]?.finish_reason).toBe('tool_calls')
  let json = ''
  for await (const chunk of await openai.chat.completions.create({ ...request, stream: true }))
    json += chunk.choices[0]?.delta.tool_calls?.[0]?.function?.arguments ?? ''
  expect(JSON.parse(json)).toBeTypeOf('object')
})

test('openai: completions, responses, embeddings, models', async () => {
  const completion = await openai.completions.create({ model, prompt: 'Once upon a time', max_tokens: 8 })
  expect(completion.choices[0]?.text.length).toBeGreaterThan(0)
  const response = await openai.responses.create({ model, input: 'Say hello', max_output_tokens: 16 })
  expect(response.output_text.length).toBeGreaterThan(0)
  let streamed = ''
  for await (const event of await openai.responses.create({ model, input: 'Say hello', stream: true, max_output_tokens: 16 }))
    if (event.type === 'response.output_text.delta') streamed += event.delta
  expect(streamed.length).toBeGreaterThan(0)
  const embedding = await openai.embeddings.create({ model, input: ['one', 'two'] })
  expect(embedding.data).toHaveLength(2)
  expect((await openai.models.list()).data.map((one) => one.id)).toEqual([model])
})

test('anthropic: a message, whole and streamed', async () => {
  const request = { model, max_tokens: 24, messages: [{ role: 'user' as const, content: 'Name three rivers' }] }
  const whole = await anthropic.messages.create(request)
  expect(whole.content[0]?.type).toBe('text')
  expect(whole.usage.output_tokens).toBeLessThanOrEqual(24)
  const message = await anthropic.messages.stream(request).finalMessage()
  expect(message.content[0]?.type === 'text' && message.content[0].text.length).toBeGreaterThan(0)
})

test("errors come in each API's own shape", async () => {
  await expect(openai.chat.completions.create({ model: 'gpt-9', messages: [{ role: 'user', content: 'x' }] })).rejects.toMatchObject({
    status: 404,
    code: 'model_not_found',
  })
  await expect(
    anthropic.messages.create({ model: 'claude-9', max_tokens: 5, messages: [{ role: 'user', content: 'x' }] }),
  ).rejects.toMatchObject({
    status: 404,
    error: { type: 'error', error: { type: 'not_found_error' } },
  })
  const broken = await fetch(`${site.proxy}/v1/chat/completions`, { method: 'POST', body: '{"model": ' })
  expect(broken.status).toBe(400)
  expect(await broken.json()).toMatchObject({ error: { type: 'invalid_request_error' } })
})

test('every answered call stands in the log with what its decision saw and what it measured', async () => {
  const calls = await eventually('all eleven are logged', () => {
    const all = storedCalls(site)
    return all.length >= 11 ? all : undefined
  })
  expect(calls.filter((one) => one.outcome !== 'completed')).toEqual([])
  expect(calls.every((one) => one.features !== null && one.features.byteLength > 0)).toBe(true)
  expect(calls.filter((one) => one.stream === 1).every((one) => one.ttft_ms !== null && one.ttft_ms > 0)).toBe(true)
  expect(calls.filter((one) => one.api !== 'openai-embeddings').every((one) => one.tokens_from === 'usage')).toBe(true)
  expect(calls.some((one) => one.application === 'client-test')).toBe(true)
})
