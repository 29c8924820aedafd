import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import type { ElementType, ValueSpec } from './onnx.ts'

/** A compiled graph with its inputs and outputs in memory of their own: fill `feeds`, run, read `fetches`. */
export type Values = Float32Array | Float64Array | BigInt64Array

export interface OpenedSession {
  readonly session: InferenceSession
  close(): Promise<void>
}

/** Compiles ONNX bytes for one thread: two threads on two cores would fight with the router for them. */
export async function openSession(bytes: Uint8Array): Promise<OpenedSession> {
  const session = await InferenceSession.create(bytes, {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    // Denormals cost a hundred times a normal float: moments that decay to nothing would slow training down.
    extra: { session: { set_denormal_as_zero: '1' } },
    logSeverityLevel: 3,
  })
  return { session, close: () => session.release() }
}

/** An onnxruntime tensor over an array, which keeps belonging to the caller. */
export function tensorOver(values: Values, shape: readonly number[]): OrtTensor {
  if (values instanceof BigInt64Array) return new OrtTensor('int64', values, shape)
  return values instanceof Float64Array ? new OrtTensor('float64', values, shape) : new OrtTensor('float32', values, shape)
}

/** A zeroed array for a value. */
export function arrayFor(value: Pick<ValueSpec, 'type' | 'shape'>): Values {
  const size = value.shape.reduce((product, one) => product * one, 1)
  const make: Partial<Record<ElementType, () => Values>> = {
    float32: () => new Float32Array(size),
    float64: () => new Float64Array(size),
    int64: () => new BigInt64Array(size),
  }
  const made = make[value.type]?.()
  if (!made) throw new Error(`no array holds ${value.type}`)
  return made
}
