/** Place a call by the API, send it where it should go, report how it ended: node place.ts API MODEL TEXT. */
const [api, model, text] = process.argv.slice(2)
const body = { model, messages: [{ role: 'user', content: text }] }

const post = async (url: string, data: unknown) => {
  const reply = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(data) })
  return JSON.parse(await reply.text())
}

const startMs = performance.now()
const placed = await post(`${api}/v1/placements`, { body })
const answer = await post(`${placed.instance.url}/v1/chat/completions`, body)
const outcome = { kind: 'completed', e2eMs: performance.now() - startMs, outputTokens: answer.usage.completion_tokens }
await post(`${api}/v1/placements/${placed.placementId}/outcome`, outcome)
console.log(placed.instance.name, answer.choices[0].message.content)
