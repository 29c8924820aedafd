import { Graph, initialParameters, PARAMETERS, type Tensor } from '../../plugin/neural/graph.ts'
import { add } from '../../plugin/neural/operators.ts'
import { arrayFor, openSession, tensorOver, type Values } from '../../plugin/neural/session.ts'
import { createRng, type Rng } from '../../plugin/rng.ts'

/** A function under check: declares inputs and parameters and returns a scalar. */
export type Scalar = (g: Graph) => Tensor

export interface GradientCheck {
  readonly parameters: number
  /** Largest |derivative − finite difference| ÷ max(1, |derivative|, |finite difference|). */
  readonly worst: number
  readonly largest: number
}

/** Five-point stencil: its error is of order step⁴ · f⁗ and of rounding ÷ step: about 1e-12 in float64 at this step. */
const STEP = 1e-3
const STENCIL = [
  [-2, 1 / 12],
  [-1, -8 / 12],
  [1, 8 / 12],
  [2, -1 / 12],
] as const

/** Compares the graph's own derivative with finite differences, both in float64 and both run by onnxruntime, over at most `most` parameters. */
export async function checkGradient(
  scalar: Scalar,
  options: { readonly seed?: number; readonly most?: number; readonly fill?: (name: string, values: Values, rng: Rng) => void } = {},
): Promise<GradientCheck> {
  const g = new Graph({ precision: 'float64', training: true })
  const loss = scalar(g)
  const bytes = g.encode([
    g.named(loss, 'loss'),
    g.named(
      g.gradients(loss, (a, b) => add(g, a, b)),
      'gradient',
    ),
  ])
  const { session, close } = await openSession(bytes)
  const rng = createRng(options.seed ?? 7)
  const feeds = Object.fromEntries(
    g.inputs.map((input) => {
      const values = arrayFor(input)
      if (options.fill) options.fill(input.name, values, rng)
      else if (values instanceof Float64Array) for (let i = 0; i < values.length; i++) values[i] = rng.normal()
      return [input.name, tensorOver(values, input.shape)]
    }),
  )
  const flat = Float64Array.from(initialParameters(g, rng))
  feeds[PARAMETERS] = tensorOver(flat, [flat.length])
  const run = async (): Promise<{ loss: number; gradient: Float64Array }> => {
    const out = await session.run(feeds)
    const { loss: value, gradient: slope } = out as unknown as Record<'loss' | 'gradient', { data: unknown }>
    return { loss: (value.data as Float64Array)[0]!, gradient: Float64Array.from(slope.data as Float64Array) }
  }
  const { gradient } = await run()
  let worst = 0
  const stride = Math.max(1, Math.floor(flat.length / (options.most ?? 400)))
  for (let i = 0; i < flat.length; i += stride) {
    const before = flat[i]!
    let difference = 0
    for (const [times, weight] of STENCIL) {
      flat[i] = before + times * STEP
      difference += (weight * (await run()).loss) / STEP
    }
    flat[i] = before
    const own = gradient[i]!
    worst = Math.max(worst, Math.abs(own - difference) / Math.max(1, Math.abs(own), Math.abs(difference)))
  }
  await close()
  return { parameters: flat.length, worst, largest: Math.max(...gradient.map(Math.abs)) }
}
