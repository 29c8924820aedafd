import fc from 'fast-check'

/** Values for fuzzing, made from the JSON Schemas of an OpenAPI document: right ones, nearly right ones, and anything. */
export type Schema = Readonly<Record<string, unknown>>
type Named = Readonly<Record<string, Schema>>

/** Values that the schema allows. Knows what this API's document uses. */
export function validFor(schema: Schema, named: Named): fc.Arbitrary<unknown> {
  const ref = schema.$ref as string | undefined
  if (ref) return validFor(named[ref.split('/').at(-1) ?? ''] ?? {}, named)
  if (schema.enum) return fc.constantFrom(...(schema.enum as unknown[]))
  if ('const' in schema) return fc.constant(schema.const)
  const options = (schema.anyOf ?? schema.oneOf) as Schema[] | undefined
  if (options) return fc.oneof(...options.map((one) => validFor(one, named)))
  switch (schema.type) {
    case 'string':
      return textFor(schema)
    case 'integer':
      return numberFor(schema).map((value) => Math.round(value))
    case 'number':
      return numberFor(schema)
    case 'boolean':
      return fc.boolean()
    case 'null':
      return fc.constant(null)
    case 'array':
      return fc.array(validFor(schema.items as Schema, named), { minLength: Number(schema.minItems ?? 0), maxLength: 5 })
    case 'object':
      return objectFor(schema, named)
    default:
      return fc.jsonValue()
  }
}

function textFor(schema: Schema): fc.Arbitrary<string> {
  if (schema.pattern === '^[0-9a-f]{16}$')
    return fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value) => value.toString(16).padStart(16, '0'))
  const maxLength = Math.min(40, Number(schema.maxLength ?? 40))
  // Names that mean something here come often enough to meet each other.
  const known = ['m', 'nick', 'lora', 'i0', 'i1', 'i2', 'k1', 'k2', 'http://10.0.0.1:8000/v1', '10.0.0.2:8000'].filter(
    (one) => one.length <= maxLength,
  )
  const any = fc
    .string({ unit: 'grapheme', minLength: Number(schema.minLength ?? 0), maxLength })
    .filter((text) => schema.pattern === undefined || new RegExp(String(schema.pattern)).test(text))
  return fc.oneof(fc.constantFrom(...known), any)
}

function numberFor(schema: Schema): fc.Arbitrary<number> {
  const min = Number(schema.minimum ?? schema.exclusiveMinimum ?? -1e9)
  const max = Number(schema.maximum ?? 1e9)
  const between =
    schema.type === 'integer' ? fc.integer({ min: Math.ceil(min), max: Math.min(max, 2 ** 40) }) : fc.double({ min, max, noNaN: true })
  return fc.oneof(fc.constantFrom(min, max), between).filter((value) => schema.exclusiveMinimum === undefined || value > min)
}

function objectFor(schema: Schema, named: Named): fc.Arbitrary<unknown> {
  const properties = (schema.properties ?? {}) as Named
  const required = (schema.required ?? []) as string[]
  const own = fc.record(Object.fromEntries(Object.entries(properties).map(([name, one]) => [name, validFor(one, named)])), {
    requiredKeys: required,
  })
  if (Object.keys(properties).length > 0) return own
  // A call's body: anything, but often one that can be placed.
  const message = fc.record({ role: fc.constantFrom('user', 'system', 'assistant'), content: fc.oneof(fc.string(), fc.jsonValue()) })
  const call = fc.record(
    {
      model: fc.oneof(fc.constantFrom('m', 'nick', 'lora'), fc.jsonValue()),
      messages: fc.oneof(fc.array(message, { maxLength: 4 }), fc.jsonValue()),
      input: fc.jsonValue(),
      prompt: fc.jsonValue(),
      stream: fc.oneof(fc.boolean(), fc.jsonValue()),
      max_tokens: fc.oneof(fc.integer(), fc.jsonValue()),
      tools: fc.jsonValue(),
      n: fc.jsonValue(),
      stop: fc.jsonValue(),
    },
    { requiredKeys: [] },
  )
  return fc.oneof({ arbitrary: call, weight: 4 }, { arbitrary: fc.dictionary(fc.string(), fc.jsonValue()), weight: 1 })
}

/** Request bodies: as the schema has it, with one thing changed, any JSON, or bytes that are none. */
export function bodiesFor(schema: Schema, named: Named): fc.Arbitrary<string> {
  const valid = validFor(schema, named)
  const spoilt = fc.tuple(valid, fc.nat(), fc.jsonValue()).map(([value, at, other]) => JSON.stringify(spoil(value, at, other)))
  return fc.oneof(
    { arbitrary: valid.map((value) => JSON.stringify(value)), weight: 6 },
    { arbitrary: spoilt, weight: 3 },
    { arbitrary: fc.json(), weight: 1 },
    { arbitrary: fc.string({ unit: 'binary' }), weight: 1 },
  )
}

/** The value with one of its members, at any depth, put another way. */
function spoil(value: unknown, at: number, other: unknown): unknown {
  if (typeof value !== 'object' || value === null) return other
  const keys = Object.keys(value)
  const key = keys[at % (keys.length + 1)]
  if (key === undefined) return { ...value, unheard: other }
  const inner = (value as Record<string, unknown>)[key]
  const changed = at % 2 === 0 ? other : spoil(inner, Math.floor(at / 7), other)
  return Array.isArray(value) ? value.map((one, i) => (String(i) === key ? changed : one)) : { ...value, [key]: changed }
}
