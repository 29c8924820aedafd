import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { afterEach, expect, test } from 'vitest'
import { ANSWER, answerStream, answerWhole, endAll, type Play, type Setup, startProxy, startUpstream } from './setup.ts'

afterEach(endAll)

const messages = [{ role: 'user' as const, content: 'Say hello.' }]
const openai = (setup: Setup): OpenAI => new OpenAI({ baseURL: `${setup.proxy.url}/v1`, apiKey: 'sk-any', maxRetries: 0 })
const anthropic = (setup: Setup): Anthropic => new Anthropic({ baseURL: setup.proxy.url, apiKey: 'sk-any', maxRetries: 0 })

const MESSAGE = {
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  model: 'm',
  content: [{ type: 'text', text: 'Hello!' }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage: { input_tokens: 9, output_tokens: 2 },
}
const MESSAGE_EVENTS = [
  { type: 'message_start', message: { ...MESSAGE, content: [], stop_reason: null, usage: { input_tokens: 9, output_tokens: 0 } } },
  { type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } },
  { type: 'ping' },
  { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'Hel' } },
  { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'lo!' } },
  { type: 'content_block_stop', index: 0 },
  { type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { output_tokens: 2 } },
  { type: 'message_stop' },
]
const answerMessage: Play = (response, _request, body) => {
  if (!JSON.parse(body).stream) {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(MESSAGE))
    return
  }
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (const event of MESSAGE_EVENTS) response.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
  response.end()
}

test("OpenAI's client: whole, streamed, streamed with usage, models", async () => {
  const upstream = await startUpstream((response, request, body) =>
    (JSON.parse(body).stream ? answerStream : answerWhole)(response, request, body),
  )
  const setup = await startProxy([upstream.url])
  const client = openai(setup)
  const whole = await client.chat.completions.create({ model: 'm', messages })
  expect(whole.choices[0]?.message.content).toBe('Hello!')
  expect(whole._request_id).toBeTruthy()
  let text = ''
  let usages = 0
  for await (const chunk of await client.chat.completions.create({ model: 'm', messages, stream: true })) {
    text += chunk.choices[0]?.delta.content ?? ''
    expect(chunk.choices).toHaveLength(1)
  }
  expect(text).toBe('Hello!')
  for await (const chunk of await client.chat.completions.create({
    model: 'm',
    messages,
    stream: true,
    stream_options: { include_usage: true },
  }))
    if (chunk.usage) usages++
  expect(usages).toBe(1)
  expect((await client.models.list()).data.map((one) => one.id)).toEqual(['m', 'nick'])
  const rows = await setup.settled(3)
  expect(rows.map((row) => row.outcome.outputTokens)).toEqual([2, 2, 2])
})

test("OpenAI's client: tool calls in a stream come out whole", async () => {
  const tool = (args: string, more: object = {}) => ({ tool_calls: [{ index: 0, function: { arguments: args }, ...more }] })
  const deltas = [
    { role: 'assistant', content: null },
    { tool_calls: [{ index: 0, id: 'call_1', type: 'function', function: { name: 'weather', arguments: '' } }] },
    tool('{"city":'),
    tool('"Oslo"}'),
  ]
  const upstream = await startUpstream((response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const say = (choice: object): boolean =>
      response.write(
        `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, ...choice }] })}\n\n`,
      )
    for (const delta of deltas) say({ delta, finish_reason: null })
    say({ delta: {}, finish_reason: 'tool_calls' })
    response.end('data: [DONE]\n\n')
  })
  const setup = await startProxy([upstream.url])
  const tools = [{ type: 'function' as const, function: { name: 'weather', parameters: { type: 'object', properties: {} } } }]
  const stream = openai(setup).chat.completions.stream({ model: 'm', messages, tools })
  const last = (await stream.finalChatCompletion()).choices[0]
  expect(last?.finish_reason).toBe('tool_calls')
  expect(last?.message.tool_calls?.[0]).toMatchObject({ id: 'call_1', function: { name: 'weather', arguments: '{"city":"Oslo"}' } })
  expect((await setup.settled(1))[0]?.outcome).toMatchObject({ kind: 'completed', finishReason: 'tool_calls' })
})

test("Anthropic's client: whole and streamed", async () => {
  const upstream = await startUpstream(answerMessage)
  const setup = await startProxy([upstream.url])
  const client = anthropic(setup)
  const whole = await client.messages.create({ model: 'm', max_tokens: 20, messages })
  expect(whole.content[0]).toMatchObject({ type: 'text', text: 'Hello!' })
  const last = await client.messages.stream({ model: 'm', max_tokens: 20, messages }).finalMessage()
  expect(last.content[0]).toMatchObject({ text: 'Hello!' })
  expect(upstream.seen[0]?.headers['anthropic-version']).toBeTruthy()
  const rows = await setup.settled(2)
  expect(rows.map((row) => row.outcome)).toMatchObject([
    { kind: 'completed', promptTokens: 9, outputTokens: 2 },
    { kind: 'completed', promptTokens: 9, outputTokens: 2, finishReason: 'end_turn' },
  ])
})

test('both clients know our errors for what they are', async () => {
  const keyed = await startProxy([], { parts: { callerKeys: [{ application: 'a', key: 'sk-a' }] } })
  const empty = await startProxy([])
  const ask = (setup: Setup, model = 'm') => openai(setup).chat.completions.create({ model, messages })
  const say = (setup: Setup, model = 'm') => anthropic(setup).messages.create({ model, max_tokens: 5, messages })
  await expect(ask(keyed)).rejects.toBeInstanceOf(OpenAI.AuthenticationError)
  await expect(say(keyed)).rejects.toBeInstanceOf(Anthropic.AuthenticationError)
  await expect(ask(empty, 'none')).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  await expect(say(empty, 'none')).rejects.toBeInstanceOf(Anthropic.NotFoundError)
  await expect(ask(empty)).rejects.toMatchObject({ status: 503, type: 'server_error' })
  await expect(say(empty)).rejects.toMatchObject({ status: 503, error: { error: { type: 'overloaded_error' } } })
})

test('both clients raise when an instance dies in mid-stream', async () => {
  const dying = (first: string): Play => {
    return (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(first, () => response.socket?.destroy())
    }
  }
  const chunk = {
    id: 'c',
    object: 'chat.completion.chunk',
    model: 'm',
    choices: [{ index: 0, delta: { content: 'Hel' }, finish_reason: null }],
  }
  const one = await startProxy([(await startUpstream(dying(`data: ${JSON.stringify(chunk)}\n\n`))).url])
  const read = async (): Promise<void> => {
    for await (const _ of await openai(one).chat.completions.create({ model: 'm', messages, stream: true }));
  }
  await expect(read()).rejects.toBeInstanceOf(OpenAI.APIError)
  const events = MESSAGE_EVENTS.slice(0, 4).map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
  const two = await startProxy([(await startUpstream(dying(events.join('')))).url])
  await expect(anthropic(two).messages.stream({ model: 'm', max_tokens: 5, messages }).finalMessage()).rejects.toBeInstanceOf(
    Anthropic.APIError,
  )
})

test('both clients retry by themselves what is worth retrying', async () => {
  let times = 0
  const upstream = await startUpstream((response, request, body) => {
    if (++times === 1) response.writeHead(503, { 'content-type': 'application/json', 'retry-after-ms': '1' }).end('{}')
    else answerWhole(response, request, body)
  })
  const setup = await startProxy([upstream.url])
  const client = new OpenAI({ baseURL: `${setup.proxy.url}/v1`, apiKey: 'x', maxRetries: 1 })
  expect((await client.chat.completions.create({ model: 'm', messages })).id).toBe(ANSWER.id)
  expect((await setup.settled(2)).map((row) => row.outcome.kind)).toEqual(['instance error', 'completed'])
})
