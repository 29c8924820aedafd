import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { apiError, badRequest, modelNotFound, streamError } from '../../plugin/call/errors.ts'
import { parseCall } from '../../plugin/call/parse.ts'
import { callOf, partsOf } from './calls.ts'

const PATHS = ['/v1/chat/completions', '/v1/completions', '/v1/responses', '/v1/embeddings', '/v1/messages']

describe('a call is read from each API', () => {
  test('chat: every number asked for, string and part content', () => {
    const call = callOf('/v1/chat/completions', {
      model: 'llama',
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: [{ type: 'text', text: 'Hi' }] },
      ],
      stream: true,
      stream_options: { include_usage: true },
      max_tokens: 10,
      max_completion_tokens: 20,
      temperature: 0.5,
      n: 3,
      stop: ['a', 'b'],
      tools: [{ type: 'function', function: { name: 'f' } }],
      response_format: { type: 'json_schema', json_schema: {} },
      some_new_field: { kept: true },
    })
    expect(call).toMatchObject({ api: 'openai-chat', model: 'llama', stream: true })
    expect(call.request).toMatchObject({
      maxTokens: 20,
      temperature: 0.5,
      answers: 3,
      stops: 2,
      tools: 1,
      turns: 2,
      responseFormat: 'schema',
    })
    expect(call.request.wantsStreamUsage).toBe(true)
    expect(call.request.systemHash).not.toBe(0)
  })

  test('what was not sent is absent, never 0', () => {
    const { request } = callOf('/v1/chat/completions', { model: 'm', messages: [] })
    expect(request).toEqual({ answers: 1, stops: 0, tools: 0, turns: 0, responseFormat: 'text', wantsStreamUsage: false, systemHash: 0 })
  })

  test.each([
    ['a string', 'Hello', 1, undefined],
    ['strings', ['a', 'b'], 2, undefined],
    ['token ids', [1, 2, 3], 1, 3],
    [
      'lists of token ids',
      [
        [1, 2],
        [3, 4, 5],
      ],
      2,
      5,
    ],
  ])('completions: prompt as %s', (_, prompt, answers, tokens) => {
    const call = callOf('/v1/completions', { model: 'm', prompt })
    expect(call.promptTokensExact).toBe(tokens)
    expect(call.request.answers).toBe(answers)
    expect(call.promptBytes).toBe(JSON.stringify(prompt).length)
  })

  test('responses: a string with instructions, and items', () => {
    const text = callOf('/v1/responses', {
      model: 'm',
      instructions: 'Be brief.',
      input: 'Hi',
      max_output_tokens: 7,
      text: { format: { type: 'json_object' } },
    })
    expect(text.request).toMatchObject({ maxTokens: 7, responseFormat: 'json', turns: 1 })
    const items = callOf('/v1/responses', {
      model: 'm',
      instructions: 'Be brief.',
      input: [
        {
          role: 'user',
          content: [
            { type: 'input_text', text: 'Hi' },
            { type: 'input_image', image_url: 'x' },
          ],
        },
        { type: 'function_call', name: 'f', arguments: '{}' },
        { type: 'function_call_output', output: 'done' },
      ],
    })
    expect(items.request).toMatchObject({ turns: 3, systemHash: text.request.systemHash })
    expect(items.promptText).toMatchObject({ media: 1, words: 5 })
  })

  test('embeddings: many inputs are many answers', () => {
    expect(callOf('/v1/embeddings', { model: 'm', input: ['a', 'b', 'c'] }).request.answers).toBe(3)
  })

  test('Anthropic: system as text or blocks is the same system prompt, and counts in the prompt', () => {
    const messages = [{ role: 'user', content: 'Hi' }]
    const text = callOf('/v1/messages', { model: 'm', max_tokens: 5, system: 'Be brief.', messages, stop_sequences: ['x'] })
    const blocks = callOf('/v1/messages', { model: 'm', max_tokens: 5, system: [{ type: 'text', text: 'Be brief.' }], messages })
    expect(text.request).toMatchObject({ maxTokens: 5, stops: 1, turns: 1 })
    expect(blocks.request.systemHash).toBe(text.request.systemHash)
    expect(text.promptBytes).toBe(JSON.stringify('Be brief.').length + JSON.stringify(messages).length)
  })

  test('tools do not count as prompt bytes', () => {
    const body = { model: 'm', messages: [{ role: 'user', content: 'Hi' }] }
    const tools = [{ type: 'function' }]
    expect(callOf('/v1/chat/completions', { ...body, tools }).promptBytes).toBe(callOf('/v1/chat/completions', body).promptBytes)
  })

  test('odd types of optional fields are ignored, never refused', () => {
    const body = {
      messages: 'x',
      stream: 'yes',
      max_tokens: 'many',
      temperature: null,
      n: -1,
      stop: 5,
      tools: {},
      response_format: 3,
      stream_options: [],
    }
    fc.assert(
      fc.property(
        fc.constantFrom(...PATHS),
        fc.dictionary(fc.constantFrom(...Object.keys(body), 'prompt', 'input', 'system', 'instructions'), fc.jsonValue()),
        (path, odd) => {
          expect(parseCall(partsOf(path, { model: 'm', ...odd })).kind).toBe('call')
        },
      ),
    )
    expect(callOf('/v1/chat/completions', { model: 'm', ...body }).request).toMatchObject({ answers: 1, stops: 0, tools: 0 })
  })
})

describe('what cannot be a call is refused in the shape of its API', () => {
  test.each(['', '{', '[]', '"x"', 'null', '{"messages":[]}', '{"model":""}', '{"model":5}'])('400 for the body %j', (body) => {
    for (const path of PATHS) expect(parseCall(partsOf(path, body))).toMatchObject({ kind: 'refused', error: { status: 400 } })
  })

  test('404 for a path that is no API; a query string does not matter', () => {
    expect(parseCall(partsOf('/v1/unknown', '{}'))).toMatchObject({ kind: 'refused', error: { status: 404, code: 'unknown_url' } })
    expect(parseCall(partsOf('/toString', '{}'))).toMatchObject({ kind: 'refused', error: { status: 404 } })
    expect(callOf('/v1/messages?beta=true', { model: 'm' }).api).toBe('anthropic-messages')
  })

  test('a refusal repeats nothing of the body', () => {
    const parsed = parseCall(partsOf('/v1/messages', '{"secret words": nope'))
    expect(JSON.stringify(parsed)).not.toContain('secret')
  })

  test('OpenAI and Anthropic errors have their own bodies and stream events', () => {
    expect(apiError('openai-chat', modelNotFound('x'))).toMatchObject({
      error: { type: 'invalid_request_error', param: 'model', code: 'model_not_found' },
    })
    expect(apiError('anthropic-messages', modelNotFound('x'), 'r1')).toMatchObject({
      type: 'error',
      error: { type: 'not_found_error' },
      request_id: 'r1',
    })
    expect(streamError('openai-chat', badRequest('no')).toString()).toBe(
      'data: {"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}\n\n',
    )
    expect(streamError('anthropic-messages', badRequest('no')).toString()).toMatch(/^event: error\ndata: \{"type":"error",.*\}\n\n$/)
    expect(streamError('openai-responses', badRequest('no')).toString()).toMatch(/^event: error\ndata: \{"type":"error",/)
  })
})

describe('who calls', () => {
  const callerOf = (headers: Record<string, string>, application?: string) =>
    callOf('/v1/messages', { model: 'm' }, { headers, ...(application ? { application } : {}) }).caller

  test('the key names the application, then the header, and the tenant follows', () => {
    expect(callerOf({})).toEqual({ application: 'unknown', tenant: 'unknown', priority: 0 })
    expect(callerOf({ 'x-phasewise-application': 'app' })).toMatchObject({ application: 'app', tenant: 'app' })
    expect(callerOf({ 'x-phasewise-application': 'app', 'x-phasewise-tenant': 't' }, 'key')).toMatchObject({
      application: 'key',
      tenant: 't',
    })
  })

  test('hints and their llm-d aliases; our own name wins', () => {
    expect(callerOf({ 'x-slo-ttft-ms': '250', 'x-slo-tpot-ms': '40.5', 'x-phasewise-task': 'translation' })).toMatchObject({
      sloTtftMs: 250,
      sloTpotMs: 40.5,
      task: 'translation',
    })
    const aliases = { 'x-llm-d-inference-objective': '3', 'x-llm-d-inference-fairness-id': 'f' }
    expect(callerOf(aliases)).toMatchObject({ priority: 3, tenant: 'f' })
    expect(callerOf({ ...aliases, 'x-phasewise-priority': '-1', 'x-phasewise-tenant': 't' })).toMatchObject({ priority: -1, tenant: 't' })
  })

  test('hints that make no sense count as not sent; names are bounded and printable', () => {
    const caller = callerOf({
      'x-slo-ttft-ms': 'soon',
      'x-slo-tpot-ms': '-3',
      'x-phasewise-priority': 'high',
      'x-phasewise-task': ' \u0007 ',
    })
    expect(caller).toEqual({ application: 'unknown', tenant: 'unknown', priority: 0 })
    expect(callerOf({ 'x-phasewise-tenant': 'x'.repeat(5000) }).tenant.length).toBe(128)
  })

  test('x-virtual headers leave no trace in the call', () => {
    const plain = callOf('/v1/messages', { model: 'm' })
    expect(callOf('/v1/messages', { model: 'm' }, { headers: { 'x-virtual-output-tokens': '99' } })).toEqual(plain)
  })
})
