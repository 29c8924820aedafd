import { type Graph, sizeOf, type Tensor } from './graph.ts'

/** The operators models are made of, each with its derivative. Shapes are static; binary operators broadcast as NumPy's do. */

/** min(y · STEEP, 1) is 1 for every y > 0 that counts and 0 at 0: the step function from two vectorised operators, six times as fast as Sign. */
const STEEP = 1e30

/** a + b. */
export function add(g: Graph, a: Tensor, b: Tensor): Tensor {
  return g.record(binary(g, 'Add', a, b), [a, b], (d) => [() => unbroadcast(g, d, a.shape), () => unbroadcast(g, d, b.shape)])
}

/** a − b. */
export function subtract(g: Graph, a: Tensor, b: Tensor): Tensor {
  return g.record(binary(g, 'Sub', a, b), [a, b], (d) => [() => unbroadcast(g, d, a.shape), () => unbroadcast(g, negate(g, d), b.shape)])
}

/** a · b, element by element. */
export function multiply(g: Graph, a: Tensor, b: Tensor): Tensor {
  return g.record(binary(g, 'Mul', a, b), [a, b], (d) => [
    () => unbroadcast(g, multiply(g, d, b), a.shape),
    () => unbroadcast(g, multiply(g, d, a), b.shape),
  ])
}

/** a ÷ b, element by element. */
export function divide(g: Graph, a: Tensor, b: Tensor): Tensor {
  const y = binary(g, 'Div', a, b)
  return g.record(y, [a, b], (d) => [
    () => unbroadcast(g, divide(g, d, b), a.shape),
    () => unbroadcast(g, negate(g, divide(g, multiply(g, d, y), b)), b.shape),
  ])
}

/** The lesser of a and b, element by element; where they are equal, a's derivative counts. */
export function minimum(g: Graph, a: Tensor, b: Tensor): Tensor {
  const chosen = (): Tensor => flag(g, binary(g, 'LessOrEqual', a, b, 'bool'))
  return g.record(binary(g, 'Min', a, b), [a, b], (d) => [
    () => unbroadcast(g, multiply(g, d, chosen()), a.shape),
    () => unbroadcast(g, multiply(g, d, subtract(g, g.constant(1), chosen())), b.shape),
  ])
}

/** −x. */
export function negate(g: Graph, x: Tensor): Tensor {
  return g.record(unary(g, 'Neg', x), [x], (d) => [() => negate(g, d)])
}

/** e^x. */
export function exponential(g: Graph, x: Tensor): Tensor {
  const y = unary(g, 'Exp', x)
  return g.record(y, [x], (d) => [() => multiply(g, d, y)])
}

/** ln x. */
export function logarithm(g: Graph, x: Tensor): Tensor {
  return g.record(unary(g, 'Log', x), [x], (d) => [() => divide(g, d, x)])
}

/** √x. */
export function squareRoot(g: Graph, x: Tensor): Tensor {
  const y = unary(g, 'Sqrt', x)
  return g.record(y, [x], (d) => [() => divide(g, multiply(g, d, g.constant(0.5)), y)])
}

/** |x|; its derivative at 0 is 0. */
export function absolute(g: Graph, x: Tensor): Tensor {
  return g.record(unary(g, 'Abs', x), [x], (d) => [() => multiply(g, d, unary(g, 'Sign', x))])
}

/** max(x, 0). */
export function relu(g: Graph, x: Tensor): Tensor {
  const y = unary(g, 'Relu', x)
  return g.record(y, [x], (d) => [() => multiply(g, d, binary(g, 'Min', multiply(g, y, g.constant(STEEP)), g.constant(1)))])
}

/** tanh x. */
export function tanh(g: Graph, x: Tensor): Tensor {
  const y = unary(g, 'Tanh', x)
  return g.record(y, [x], (d) => [() => subtract(g, d, multiply(g, d, multiply(g, y, y)))])
}

/** 1 / (1 + e^−x). */
export function sigmoid(g: Graph, x: Tensor): Tensor {
  const y = unary(g, 'Sigmoid', x)
  return g.record(y, [x], (d) => [() => multiply(g, d, subtract(g, y, multiply(g, y, y)))])
}

/** ln(1 + e^x), computed as max(x, 0) + ln(1 + e^−|x|), which never overflows. */
export function softplus(g: Graph, x: Tensor): Tensor {
  const small = exponential(g, negate(g, absolute(g, x)))
  return add(g, relu(g, x), logarithm(g, add(g, small, g.constant(1))))
}

/** ln of the softmax over the last axis. */
export function logSoftmax(g: Graph, x: Tensor): Tensor {
  const y = g.node({ operator: 'LogSoftmax', inputs: [x], shape: x.shape, attributes: { axis: -1 } })
  return g.record(y, [x], (d) => [
    () => subtract(g, d, multiply(g, unary(g, 'Exp', y), sum(g, d, { axes: [x.shape.length - 1], keep: true }))),
  ])
}

/** x · w, where x is [rows, in] and w [in, out], either one transposed on request. */
export function matrixProduct(g: Graph, a: Tensor, b: Tensor, flip: { readonly a?: true; readonly b?: true } = {}): Tensor {
  const [rows, inner] = flip.a ? [a.shape[1], a.shape[0]] : [a.shape[0], a.shape[1]]
  const [innerB, columns] = flip.b ? [b.shape[1], b.shape[0]] : [b.shape[0], b.shape[1]]
  if (rows === undefined || columns === undefined || inner !== innerB || a.shape.length !== 2 || b.shape.length !== 2)
    throw new Error(`cannot multiply ${a.shape.join('×')} by ${b.shape.join('×')}`)
  const attributes = { ...(flip.a ? { transA: 1 } : {}), ...(flip.b ? { transB: 1 } : {}) }
  const y = g.node({ operator: 'Gemm', inputs: [a, b], shape: [rows, columns], attributes })
  return g.record(y, [a, b], (d) => [
    () =>
      flip.a ? matrixProduct(g, b, d, { ...(flip.b ? { a: true } : {}), b: true }) : matrixProduct(g, d, b, flip.b ? {} : { b: true }),
    () =>
      flip.b ? matrixProduct(g, d, a, { a: true, ...(flip.a ? { b: true } : {}) }) : matrixProduct(g, a, d, flip.a ? {} : { a: true }),
  ])
}

/** x · w + b: [rows, in] by [in, out] plus [out], in one node. */
export function affine(g: Graph, x: Tensor, { weights, bias }: { readonly weights: Tensor; readonly bias: Tensor }): Tensor {
  const y = g.node({ operator: 'Gemm', inputs: [x, weights, bias], shape: [x.shape[0] as number, weights.shape[1] as number] })
  return g.record(y, [x, weights, bias], (d) => [
    () => matrixProduct(g, d, weights, { b: true }),
    () => matrixProduct(g, x, d, { a: true }),
    () => unbroadcast(g, d, bias.shape),
  ])
}

/** Sum over `axes`, which stay as 1 on `keep`. */
export function sum(g: Graph, x: Tensor, over: { readonly axes: readonly number[]; readonly keep?: boolean }): Tensor {
  const kept = x.shape.map((size, i) => (over.axes.includes(i) ? 1 : size))
  const shape = over.keep ? kept : x.shape.filter((_, i) => !over.axes.includes(i))
  const inputs = [x, g.integers(over.axes)]
  const y = g.node({ operator: 'ReduceSum', inputs, shape, attributes: { keepdims: over.keep ? 1 : 0 } })
  return g.record(y, [x], (d) => [() => broadcast(g, reshape(g, d, kept), x.shape)])
}

/** Mean over `axes`, which stay as 1 on `keep`. */
export function mean(g: Graph, x: Tensor, over: { readonly axes: readonly number[]; readonly keep?: boolean }): Tensor {
  const count = sizeOf(over.axes.map((axis) => x.shape[axis] ?? 1))
  return multiply(g, sum(g, x, over), g.constant(1 / count))
}

/** Mean over everything, a scalar. */
export function meanOfAll(g: Graph, x: Tensor): Tensor {
  return mean(g, x, { axes: x.shape.map((_, i) => i) })
}

/** The same elements in another shape. */
export function reshape(g: Graph, x: Tensor, shape: readonly number[]): Tensor {
  if (sizeOf(shape) !== sizeOf(x.shape)) throw new Error(`cannot give ${x.shape.join('×')} the shape ${shape.join('×')}`)
  const y = g.node({ operator: 'Reshape', inputs: [x, g.integers(shape)], shape })
  return g.record(y, [x], (d) => [() => reshape(g, d, x.shape)])
}

/** Tensors side by side along the last axis. */
export function concatenate(g: Graph, parts: readonly Tensor[]): Tensor {
  const first = parts[0] as Tensor
  const axis = first.shape.length - 1
  const widths = parts.map((part) => part.shape[axis] as number)
  const shape = [...first.shape.slice(0, axis), widths.reduce((all, width) => all + width, 0)]
  const y = g.node({ operator: 'Concat', inputs: parts, shape, attributes: { axis } })
  return g.record(y, parts, (d) => {
    let at = 0
    return widths.map((width) => {
      const start = at
      at += width
      return () => columns(g, d, { start, end: start + width })
    })
  })
}

/** Columns `start` to `end` (exclusive) of the last axis; its derivative is padded with zeros. */
export function columns(g: Graph, x: Tensor, range: { readonly start: number; readonly end: number }): Tensor {
  const axis = x.shape.length - 1
  const width = x.shape[axis] as number
  const inputs = [x, g.integers([range.start]), g.integers([range.end]), g.integers([axis])]
  const y = g.node({ operator: 'Slice', inputs, shape: [...x.shape.slice(0, axis), range.end - range.start] })
  return g.record(y, [x], (d) => [
    () => {
      const zeros = x.shape.slice(0, -1).map(() => 0)
      const pads = g.integers([...zeros, range.start, ...zeros, width - range.end])
      return g.node({ operator: 'Pad', inputs: [d, pads, g.constant(0)], shape: x.shape })
    },
  ])
}

/** Rows of `table` [entries, width] at int64 `indices` [rows, slots], as [rows, slots, width]. */
export function gatherRows(g: Graph, table: Tensor, indices: Tensor): Tensor {
  const [, width] = table.shape as readonly [number, number]
  const [rows, slots] = indices.shape as readonly [number, number]
  const y = g.node({ operator: 'Gather', inputs: [table, indices], shape: [rows, slots, width], attributes: { axis: 0 } })
  return g.record(y, [table], (d) => [
    () => {
      const at = g.node({ operator: 'Reshape', inputs: [indices, g.integers([rows * slots, 1])], shape: [rows * slots, 1], type: 'int64' })
      const updates = reshape(g, d, [rows * slots, width])
      const zeros = g.node({ operator: 'Expand', inputs: [g.constant(0), g.integers(table.shape)], shape: table.shape })
      return g.node({ operator: 'ScatterND', inputs: [zeros, at, updates], shape: table.shape, attributes: { reduction: 'add' } })
    },
  ])
}

function unary(g: Graph, operator: string, x: Tensor): Tensor {
  return g.node({ operator, inputs: [x], shape: x.shape })
}

function binary(g: Graph, operator: string, a: Tensor, b: Tensor, type: 'bool' | Tensor['type'] = a.type): Tensor {
  return g.node({ operator, inputs: [a, b], shape: broadcastShape(a.shape, b.shape), type })
}

/** 0 and 1 from a truth tensor. TensorProto.DataType: 1 is float32, 11 float64. */
function flag(g: Graph, x: Tensor): Tensor {
  return g.node({ operator: 'Cast', inputs: [x], shape: x.shape, attributes: { to: g.precision === 'float32' ? 1 : 11 } })
}

function broadcast(g: Graph, x: Tensor, shape: readonly number[]): Tensor {
  if (same(x.shape, shape)) return x
  return g.record(g.node({ operator: 'Expand', inputs: [x, g.integers(shape)], shape }), [x], (d) => [() => unbroadcast(g, d, x.shape)])
}

/** Sums away what broadcasting to `d` had repeated. */
function unbroadcast(g: Graph, d: Tensor, shape: readonly number[]): Tensor {
  if (same(d.shape, shape)) return d
  const ahead = d.shape.length - shape.length
  const axes = d.shape.flatMap((size, i) => (i < ahead || (shape[i - ahead] === 1 && size !== 1) ? [i] : []))
  if (d.shape.length === 2 && axes.length === 1 && axes[0] === 0) return reshape(g, columnSums(g, d), shape)
  return reshape(g, axes.length === 0 ? d : sum(g, d, { axes }), shape)
}

/** Sums down the columns as a matrix product with ones, five times as fast as ReduceSum over the first axis. */
function columnSums(g: Graph, d: Tensor): Tensor {
  const rows = d.shape[0] as number
  return matrixProduct(g, g.constant(new Array<number>(rows).fill(1), [1, rows]), d)
}

function broadcastShape(a: readonly number[], b: readonly number[]): readonly number[] {
  const rank = Math.max(a.length, b.length)
  return Array.from({ length: rank }, (_, i) => {
    const left = a[a.length - rank + i] ?? 1
    const right = b[b.length - rank + i] ?? 1
    if (left !== right && left !== 1 && right !== 1) throw new Error(`shapes ${a.join('×')} and ${b.join('×')} do not broadcast`)
    return Math.max(left, right)
  })
}

function same(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i])
}
