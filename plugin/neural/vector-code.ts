import {
  add,
  addVectors,
  assemble,
  type Code,
  constant,
  get,
  INT32,
  lessThan,
  loadVector,
  loadWord,
  loop,
  multiplyVectors,
  set,
  splat,
  storeVector,
  tee,
  V128,
} from './assembly.ts'

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
 * Counts are bytes, so that nothing is multiplied.
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

const COUNT = 0
const OUTPUTS = 1
const BIAS = 2
const K = 3
const I = 4
const AT = 5
const VALUE = 6
/** $a to $d. */
const SUMS = [7, 8, 9, 10] as const

const each = (write: (sum: number, offset: number) => Code): Code => SUMS.flatMap((sum, n) => write(sum, 16 * n))

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

/** The module: `run(countBytes, outputsBytes, biasAt)`. */
export const VECTOR_CODE = assemble({
  parameters: [INT32, INT32, INT32],
  result: [],
  locals: [
    [3, INT32],
    [5, V128],
  ],
  body: [...constant(0), ...set(K), ...overOutputs],
})
