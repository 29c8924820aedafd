import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../plugin/clock.ts'
import { profileNamed } from '../../plugin/simulation/profiles.ts'
import { startVirtualInstance, type VirtualInstance } from '../../plugin/simulation/virtual-instance.ts'

const MODEL = 'llama-2-7b'
const base = { name: 'v', profile: profileNamed('h100-llama-2-7b'), models: [MODEL], port: 0, timeFactor: 20, clock: systemClock }
const WEATHER = {
  type: 'function' as const,
  function: {
    name: 'get_weather',
    parameters: { type: 'object', properties: { city: { type: 'string' }, days: { type: 'integer' } }, required: ['city'] },
  },
}

let instance: VirtualInstance
let openai: OpenAI
let anthropic: Anthropic

beforeAll(async () => {
  instance = await startVirtualInstance(base)
  openai = new OpenAI({ baseURL: `${instance.url}/v1`, apiKey: 'none', maxRetries: 0 })
  anthropic = new Anthropic({ baseURL: instance.url, apiKey: 'none', maxRetries: 0 })
})
afterAll(() => instance.close())

const ask = (content: string) => ({ model: MODEL, messages: [{ role: 'user' as const, content }] })

async function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(instance.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
}

describe('OpenAI chat completions', () => {
  test('the same prompt has the same answer, streamed or not', async () => {
    const whole = await openai.chat.completions.create(ask('Translate to French: good morning'))
    const stream = await openai.chat.completions.create({
      ...ask('Translate to French: good morning'),
      stream: true,
      stream_options: { include_usage: true },
    })
    let text = ''
    let finish: string | null = null
    let usage: OpenAI.CompletionUsage | null | undefined
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? ''
      finish = chunk.choices[0]?.finish_reason ?? finish
      usage = chunk.usage ?? usage
    }
    expect(text).toBe(whole.choices[0]!.message.content)
    expect(finish).toBe('stop')
    expect(usage?.completion_tokens).toBe(whole.usage?.completion_tokens)
    expect(usage?.prompt_tokens).toBe(9)
  })

  test('the stream has a role chunk, one chunk per token, the finish reason on the last, [DONE], and usage only when asked for', async () => {
    const body = { ...ask('hello'), max_tokens: 3, stream: true }
    const lines = (await (await post('/v1/chat/completions', body, { 'x-virtual-output-tokens': '9' })).text())
      .split('\n\n')
      .filter(Boolean)
    expect(lines.at(-1)).toBe('data: [DONE]')
    const chunks = lines.slice(0, -1).map((line) => JSON.parse(line.slice(6)))
    expect(chunks[0].choices[0].delta).toEqual({ role: 'assistant', content: '' })
    expect(chunks.slice(1).map((c) => c.choices[0].finish_reason)).toEqual([null, null, 'length'])
    expect(chunks.every((c) => c.object === 'chat.completion.chunk' && !('usage' in c))).toBe(true)
  })

  test('length: header, max_tokens, ignore_eos, min_tokens', async () => {
    const tokens = async (body: object, header?: string) => {
      const response = await post(
        '/v1/chat/completions',
        { ...ask('hi there'), ...body },
        header ? { 'x-virtual-output-tokens': header } : {},
      )
      const { usage, choices } = (await response.json()) as OpenAI.ChatCompletion
      return [usage?.completion_tokens, choices[0]!.finish_reason]
    }
    expect(await tokens({}, '17')).toEqual([17, 'stop'])
    expect(await tokens({ max_completion_tokens: 5 }, '17')).toEqual([5, 'length'])
    expect(await tokens({ max_tokens: 40, ignore_eos: true })).toEqual([40, 'length'])
    expect(await tokens({ min_tokens: 30 }, '2')).toEqual([30, 'stop'])
  })

  test('a stop sequence ends the text before it', async () => {
    const whole = (await openai.chat.completions.create({ ...ask('Question: why?'), max_tokens: 60 })).choices[0]!.message.content!
    const stop = whole.slice(40, 46)
    const stopped = await openai.chat.completions.create({ ...ask('Question: why?'), max_tokens: 60, stop: [stop] })
    expect(stopped.choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: whole.slice(0, whole.indexOf(stop)) } })
    expect(stopped.usage!.completion_tokens).toBeLessThan(60)
  })

  test('n answers are n choices, the prompt counted once', async () => {
    const reply = await openai.chat.completions.create({ ...ask('Translate to French: yes'), n: 3, max_tokens: 8 })
    expect(reply.choices.map((c) => c.index)).toEqual([0, 1, 2])
    expect(new Set(reply.choices.map((c) => c.message.content)).size).toBe(3)
    expect(reply.usage).toMatchObject({ prompt_tokens: 6, completion_tokens: 24 })
  })

  test('tools: demanded or named in the prompt they are called, streamed as deltas too', async () => {
    const demanded = await openai.chat.completions.create({ ...ask('Berlin'), tools: [WEATHER], tool_choice: 'required' })
    const call = demanded.choices[0]!.message.tool_calls![0]!
    expect(demanded.choices[0]!.finish_reason).toBe('tool_calls')
    expect(call).toMatchObject({ type: 'function', function: { name: 'get_weather' } })
    expect(JSON.parse((call as OpenAI.ChatCompletionMessageFunctionToolCall).function.arguments)).toMatchObject({
      city: expect.any(String),
    })
    const runner = openai.chat.completions.stream({ ...ask('please get_weather'), tools: [WEATHER] })
    const final = await runner.finalChatCompletion()
    expect(final.choices[0]!.message.tool_calls![0]).toMatchObject({ function: { name: 'get_weather' } })
    const plain = await openai.chat.completions.create({ ...ask('hello'), tools: [WEATHER] })
    expect(plain.choices[0]!.finish_reason).toBe('stop')
    const after = await openai.chat.completions.create({
      model: MODEL,
      tools: [WEATHER],
      messages: [
        { role: 'user', content: 'get_weather' },
        { role: 'assistant', tool_calls: [{ id: '1', type: 'function', function: { name: 'get_weather', arguments: '{}' } }] },
        { role: 'tool', tool_call_id: '1', content: 'sunny' },
      ],
    })
    expect(after.choices[0]!.finish_reason).toBe('stop')
  })

  test('response_format: the text is JSON, of the schema where there is one', async () => {
    const json = await openai.chat.completions.create({ ...ask('List entities'), response_format: { type: 'json_object' } })
    expect(JSON.parse(json.choices[0]!.message.content!)).toHaveProperty('answer')
    const schema = {
      type: 'object',
      properties: { label: { enum: ['good', 'bad'] }, score: { type: 'number' } },
      required: ['label', 'score'],
    }
    const shaped = await openai.chat.completions.create({
      ...ask('x'),
      response_format: { type: 'json_schema', json_schema: { name: 'v', schema } },
    })
    expect(JSON.parse(shaped.choices[0]!.message.content!)).toEqual({ label: expect.stringMatching(/good|bad/), score: expect.any(Number) })
  })
})

describe('the other APIs', () => {
  test('completions, streamed and not, with 16 tokens where no limit is sent', async () => {
    const whole = await openai.completions.create(
      { model: MODEL, prompt: 'Question: what is up?' },
      { headers: { 'x-virtual-output-tokens': '30' } },
    )
    expect(whole.choices[0]).toMatchObject({ finish_reason: 'length' })
    expect(whole.usage?.completion_tokens).toBe(16)
    let text = ''
    for await (const chunk of await openai.completions.create({ model: MODEL, prompt: 'Question: what is up?', stream: true }))
      text += chunk.choices[0]?.text ?? ''
    expect(text).toBe(whole.choices[0]!.text)
    const ids = await openai.completions.create({ model: MODEL, prompt: [1, 2, 3, 4, 5], max_tokens: 1 })
    expect(ids.usage?.prompt_tokens).toBe(5)
  })

  test('responses, streamed and not, text and function call', async () => {
    const whole = await openai.responses.create({ model: MODEL, input: 'Translate to French: no' })
    expect(whole.output_text.length).toBeGreaterThan(0)
    const final = await openai.responses.stream({ model: MODEL, input: 'Translate to French: no' }).finalResponse()
    expect(final.output_text).toBe(whole.output_text)
    expect(final.usage).toEqual(whole.usage)
    const cut = await openai.responses.create({ model: MODEL, input: 'Translate to French: no', max_output_tokens: 2 })
    expect(cut).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } })
    const tools = [{ type: 'function' as const, name: 'look_up', parameters: WEATHER.function.parameters, strict: false }]
    const called = await openai.responses.create({ model: MODEL, input: 'x', tools, tool_choice: 'required' })
    expect(called.output[0]).toMatchObject({ type: 'function_call', name: 'look_up' })
  })

  test('embeddings are unit vectors, equal for equal text', async () => {
    const { data, usage } = await openai.embeddings.create({ model: MODEL, input: ['a cat', 'a dog', 'a cat'] })
    expect(data[0]!.embedding).toEqual(data[2]!.embedding)
    expect(data[0]!.embedding).not.toEqual(data[1]!.embedding)
    expect(Math.hypot(...data[0]!.embedding)).toBeCloseTo(1, 5)
    expect(usage.prompt_tokens).toBe(6)
  })

  test('Anthropic messages, streamed and not, text and tool use', async () => {
    const body = {
      model: MODEL,
      max_tokens: 500,
      system: 'Be brief.',
      messages: [{ role: 'user' as const, content: 'Translate to French: tree' }],
    }
    const whole = await anthropic.messages.create(body)
    const streamed = await anthropic.messages.stream(body).finalMessage()
    expect(streamed.content).toEqual(whole.content)
    expect(streamed.usage.output_tokens).toBe(whole.usage.output_tokens)
    expect(whole.stop_reason).toBe('end_turn')
    const tools = [
      { name: 'look_up', input_schema: { type: 'object' as const, properties: { word: { type: 'string' } }, required: ['word'] } },
    ]
    const called = await anthropic.messages.stream({ ...body, tools, tool_choice: { type: 'any' } }).finalMessage()
    expect(called.stop_reason).toBe('tool_use')
    expect(called.content[0]).toMatchObject({ type: 'tool_use', name: 'look_up', input: { word: expect.any(String) } })
  })

  test('models, health, metrics', async () => {
    expect((await openai.models.list()).data.map((m) => m.id)).toEqual([MODEL])
    expect((await fetch(`${instance.url}/health`)).status).toBe(200)
    const text = await (await fetch(`${instance.url}/metrics`)).text()
    for (const name of [
      'num_requests_running',
      'num_requests_waiting',
      'kv_cache_usage_perc',
      'num_preemptions_total',
      'prefix_cache_hits_total',
    ]) {
      expect(text).toMatch(new RegExp(`^vllm:${name}\\{engine="0",model_name="${MODEL}"\\} \\d`, 'm'))
    }
    expect(text).toMatch(/vllm:cache_config_info\{block_size="16",.*num_gpu_blocks="6875"\} 1/)
    expect(text).toMatch(/vllm:request_success_total\{.*finished_reason="stop"\} [1-9]/)
  })
})

describe('what is refused', () => {
  test('unknown model 404, bad body 400, unknown path 404, in the shape of the API', async () => {
    await expect(openai.chat.completions.create({ ...ask('x'), model: 'nobody' })).rejects.toMatchObject({ status: 404 })
    await expect(
      anthropic.messages.create({ model: 'nobody', max_tokens: 1, messages: [{ role: 'user', content: 'x' }] }),
    ).rejects.toMatchObject({ status: 404, error: { type: 'error' } })
    const bad = await fetch(`${instance.url}/v1/chat/completions`, { method: 'POST', body: '{"model":' })
    expect([bad.status, ((await bad.json()) as { error: { code: number } }).error.code]).toEqual([400, 400])
    expect((await post('/v1/chat/completions', { model: MODEL })).status).toBe(400)
    expect((await post('/v1/nothing', {})).status).toBe(404)
    expect((await post('/v1/chat/completions', ask('x'.repeat(500_000)))).status).toBe(400)
  })

  test('a key, where one is set, is demanded', async () => {
    const locked = await startVirtualInstance({ ...base, apiKey: 'secret' })
    const models = (headers: Record<string, string>) => fetch(`${locked.url}/v1/models`, { headers }).then((r) => r.status)
    expect(await models({})).toBe(401)
    expect(await models({ authorization: 'Bearer secret' })).toBe(200)
    expect(await models({ 'x-api-key': 'secret' })).toBe(200)
    await locked.close()
  })
})

test('a caller who leaves frees seat and memory in the engine', async () => {
  const leaver = new AbortController()
  const response = await fetch(`${instance.url}/v1/chat/completions`, {
    method: 'POST',
    body: JSON.stringify({ ...ask('long'), stream: true, max_tokens: 20_000, ignore_eos: true }),
    signal: leaver.signal,
  })
  await response.body!.getReader().read()
  expect(instance.stats().running).toBe(1)
  leaver.abort()
  await expect.poll(() => instance.stats()).toMatchObject({ running: 0, kvBlocksUsed: 0 })
})

test('a repeated prompt is served from the prefix cache, and usage says so', async () => {
  const text = 'a long and shared system prompt '.repeat(60)
  await openai.chat.completions.create({ ...ask(text), max_tokens: 1 })
  const again = await openai.chat.completions.create({ ...ask(`${text} and a question`), max_tokens: 1 })
  expect(again.usage?.prompt_tokens_details?.cached_tokens).toBe(480)
})
