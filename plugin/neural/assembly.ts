/** Words of WebAssembly as bytes: what this room's inner loops are put together from. Opcodes: core specification 2.0, section 5.4. */
export type Code = readonly number[]

export const INT32 = 0x7f
export const FLOAT64 = 0x7c
export const V128 = 0x7b

/** Pushes a local. */
export const get = (local: number): Code => [0x20, local]
/** Pops into a local. */
export const set = (local: number): Code => [0x21, local]
/** Copies the top into a local. */
export const tee = (local: number): Code => [0x22, local]
/** Pushes a non-negative whole number. */
export const constant = (value: number): Code => [0x41, ...signed(value)]
export const add: Code = [0x6a]
export const shiftLeft: Code = [0x74]
export const lessThan: Code = [0x49]
/** Pops an address, pushes the int32 `offset` bytes beyond it. */
export const loadWord = (offset: number): Code => [0x28, ...memory(offset)]
/** As `loadWord`, a float32. */
export const loadFloat = (offset: number): Code => [0x2a, ...memory(offset)]
export const isFloatGreater: Code = [0x5e]
export const toDouble: Code = [0xbb]
export const addDoubles: Code = [0xa0]
/** As `loadWord`, four float32. */
export const loadVector = (offset: number): Code => vector(0, ...memory(offset))
/** As `loadFloat`, in all four lanes. */
export const splat = (offset: number): Code => vector(9, ...memory(offset))
/** Pops four float32 and an address. */
export const storeVector = (offset: number): Code => vector(11, ...memory(offset))
export const addVectors: Code = [0xfd, 0xe4, 0x01]
export const multiplyVectors: Code = [0xfd, 0xe6, 0x01]
/** Again while the body leaves something other than 0. */
export const loop = (body: Code): Code => [0x03, 0x40, ...body, 0x0d, 0, 0x0b]

/** A function: its parameters' types, what it gives back, kinds of further locals with how many of each, and its body. */
export interface Routine {
  readonly parameters: Code
  readonly result: Code
  readonly locals: readonly (readonly [count: number, type: number])[]
  readonly body: Code
}

/** A module of one function, exported as `run`, over a memory imported as `own.memory`. */
export function assemble({ parameters, result, locals, body }: Routine): Uint8Array {
  const code = [locals.length, ...locals.flat(), ...body, 0x0b]
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, ...sized(parameters), ...sized(result)]),
    ...section(2, [1, ...named('own'), ...named('memory'), 2, 0, 1]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...named('run'), 0, 0]),
    ...section(10, [1, ...sized(code)]),
  ])
}

/** Of the global, which TypeScript counts among a browser's, what is used here. */
declare const WebAssembly: {
  readonly Memory: new (size: { readonly initial: number }) => { readonly buffer: ArrayBuffer }
  readonly Module: new (code: Uint8Array) => object
  readonly Instance: new (module: object, imports: object) => { readonly exports: { readonly run: (...values: number[]) => number } }
}

const PAGE_BYTES = 65_536

/** Makes the assembled function, with `bytes` of zeroed memory of its own. */
export function instantiate(
  module: object,
  bytes: number,
): { readonly run: (...values: number[]) => number; readonly memory: ArrayBuffer } {
  const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / PAGE_BYTES) })
  const { exports } = new WebAssembly.Instance(module, { own: { memory } })
  return { run: exports.run, memory: memory.buffer }
}

/** Compiles what `assemble` made. */
export function compile(code: Uint8Array): object {
  return new WebAssembly.Module(code)
}

const vector = (code: number, ...rest: number[]): number[] => [0xfd, code, ...rest]
/** All addresses are whole words: an alignment of 2². */
const memory = (offset: number): number[] => [2, ...unsigned(offset)]
const section = (id: number, body: Code): number[] => [id, ...sized(body)]
const sized = (body: Code): number[] => [...unsigned(body.length), ...body]
const named = (name: string): number[] => sized([...Buffer.from(name)])

/** LEB128, as all whole numbers are written. */
function unsigned(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >>> 7)]
}

/** Of a non-negative value: the highest bit written must not look like a sign. */
function signed(value: number): number[] {
  return value < 64 ? [value] : [(value & 127) | 128, ...signed(value >>> 7)]
}
