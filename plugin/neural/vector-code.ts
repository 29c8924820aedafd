/**
 * The inner loops of a dense layer in WebAssembly SIMD, assembled here: JavaScript engines make no vector instructions of plain loops, and these take a
 * sixth of their time (a row of 200 values into 64: 1.0 instead of 5.8 µs). As text it reads:
 *
 *   (func (param $count i32) (param $outputs i32) (param $bias i32) (local $k i32) (local $i i32) (local $at i32)
 *         (local $value v128) (local $a v128) (local $b v128) (local $c v128) (local $d v128)
 *     (loop                                              ;; sixteen outputs at a time: $a $b $c $d hold four each
 *       $a = bias[$k .. ] …
 *       $i = 0
 *       (loop                                            ;; over the inputs that are not 0
 *         $value = VALUES[$i] in all lanes
 *         $at = ROWS[$i] + $k                            ;; where the input's weights stand
 *         $a = $a + $value × [$at .. ] …
 *         $i += 4, again while $i < $count)
 *       OUTPUTS[$k ..] = $a …
 *       $k += 64, again while $k < $outputs))
 *
 * Opcodes: WebAssembly core specification 2.0, section 5.4. Counts are bytes, so that nothing is multiplied.
 */

/** Values of the inputs that are not 0, float32. */
export const VALUES_AT = 0
/** For each of them where its row of weights begins, int32. */
export const ROWS_AT = 4_096
/** What comes out, float32. */
export const OUTPUTS_AT = 8_192
/** The layers' weights and biases begin here. */
export const WEIGHTS_AT = 12_288
/** Inputs and outputs that a layer may have: what the areas above hold. */
export const WIDTH_MAX = 1_024
/** Outputs that are made at a time; a layer's are rounded up to it. */
export const BLOCK = 16
export const PAGE_BYTES = 65_536

const COUNT = 0
const OUTPUTS = 1
const BIAS = 2
const K = 3
const I = 4
const AT = 5
const VALUE = 6
/** $a to $d. */
const SUMS = [7, 8, 9, 10] as const

const get = (local: number): number[] => [0x20, local]
const set = (local: number): number[] => [0x21, local]
const tee = (local: number): number[] => [0x22, local]
const constant = (value: number): number[] => [0x41, ...signed(value)]
const add = [0x6a]
const lessThan = [0x49]
const loop = (body: number[]): number[] => [0x03, 0x40, ...body, 0x0d, 0, 0x0b]
const vector = (code: number, ...rest: number[]): number[] => [0xfd, ...unsigned(code), ...rest]
/** All addresses are whole words: an alignment of 2². */
const memory = (offset: number): number[] => [2, ...unsigned(offset)]
const loadVector = (offset: number): number[] => vector(0, ...memory(offset))
const splat = (offset: number): number[] => vector(9, ...memory(offset))
const storeVector = (offset: number): number[] => vector(11, ...memory(offset))
const addVectors = vector(0xe4)
const multiplyVectors = vector(0xe6)
const loadWord = (offset: number): number[] => [0x28, ...memory(offset)]

const each = (write: (sum: number, offset: number) => number[]): number[] => SUMS.flatMap((sum, n) => write(sum, 16 * n))

const overInputs = loop([
  ...[...get(I), ...splat(VALUES_AT), ...set(VALUE)],
  ...[...get(I), ...loadWord(ROWS_AT), ...get(K), ...add, ...set(AT)],
  ...each((sum, offset) => [...get(sum), ...get(VALUE), ...get(AT), ...loadVector(offset), ...multiplyVectors, ...addVectors, ...set(sum)]),
  ...[...get(I), ...constant(4), ...add, ...tee(I), ...get(COUNT), ...lessThan],
])

const overOutputs = loop([
  ...each((sum, offset) => [...get(BIAS), ...get(K), ...add, ...loadVector(offset), ...set(sum)]),
  ...[...constant(0), ...set(I)],
  ...overInputs,
  ...each((sum, offset) => [...get(K), ...get(sum), ...storeVector(OUTPUTS_AT + offset)]),
  ...[...get(K), ...constant(4 * BLOCK), ...add, ...tee(K), ...get(OUTPUTS), ...lessThan],
])

const INT32 = 0x7f
const V128 = 0x7b
const section = (id: number, body: number[]): number[] => [id, ...unsigned(body.length), ...body]
const sized = (body: number[]): number[] => [...unsigned(body.length), ...body]
const named = (name: string): number[] => sized([...Buffer.from(name)])

const layer = [...[2, 3, INT32, 5, V128], ...constant(0), ...set(K), ...overOutputs, 0x0b]

/** The module: imports its memory as `own.memory`, exports `layer(countBytes, outputsBytes, biasAt)`. */
export const VECTOR_CODE = Uint8Array.from([
  ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
  ...section(1, [1, 0x60, 3, INT32, INT32, INT32, 0]),
  ...section(2, [1, ...named('own'), ...named('memory'), 2, 0, 1]),
  ...section(3, [1, 0]),
  ...section(7, [1, ...named('layer'), 0, 0]),
  ...section(10, [1, ...sized(layer)]),
])

/** LEB128, as all whole numbers are written. */
function unsigned(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...unsigned(value >>> 7)]
}

/** Of a non-negative value: the highest bit written must not look like a sign. */
function signed(value: number): number[] {
  return value < 64 ? [value] : [(value & 127) | 128, ...signed(value >>> 7)]
}
