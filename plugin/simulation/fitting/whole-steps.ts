import type { StepLaw } from '../../impact/step.ts'
import { type Fit, fitNonNegative, type Point } from './least-squares.ts'
import type { FittedLaw } from './operators.ts'
import { numberAt, readArchive, readTable } from './table.ts'

/** A prefill of one batch, whole: time = t0 + a·tokens + a2·Σ tokens². */
interface Prefilled {
  readonly tokens: number
  readonly squares: number
  readonly ms: number
}

/** One decode step of `batch` calls with `context` tokens each. */
interface Decoded {
  readonly batch: number
  readonly context: number
  readonly ms: number
}

/** Splitwise's measurements (Patel et al., ISCA 2024): prompt and token times of a batch. Batches of 64 prompts were split by its engine and are left out. */
export function fitSplitwise(
  file: string,
  wanted: { readonly model: string; readonly hardware: string; readonly tensorParallel: number },
): FittedLaw {
  const rows = readTable(file).filter(
    (row) => row.model === wanted.model && row.hardware === wanted.hardware && numberAt(row, 'tensor_parallel') === wanted.tensorParallel,
  )
  const of = (name: string) => rows.map((row) => numberAt(row, name))
  const prompts = of('prompt_size')
  const batches = of('batch_size')
  const outputs = of('token_size')
  const prefills = of('prompt_time').flatMap((ms, i) => {
    const [prompt, batch] = [prompts[i] as number, batches[i] as number]
    return batch < 64 ? [{ tokens: prompt * batch, squares: prompt * prompt * batch, ms }] : []
  })
  const decodes = of('token_time').map((ms, i) => ({
    batch: batches[i] as number,
    context: (prompts[i] as number) + (outputs[i] as number) / 2,
    ms,
  }))
  return fromSteps(prefills, decodes)
}

/** Dynamo's planner measurements: prefill times by prompt length, inter-token times by KV use and context. */
export function fitDynamo(prefillFile: string, decodeFile: string): FittedLaw {
  const prefill = readArchive(prefillFile)
  const decode = readArchive(decodeFile)
  const lengths = series(prefill, 'prefill_isl')
  const prefills = [...series(prefill, 'prefill_ttft')].map((ms, i) => ({
    tokens: lengths[i] as number,
    squares: (lengths[i] as number) ** 2,
    ms,
  }))
  const contexts = series(decode, 'y_context_length')
  const perS = series(decode, 'z_thpt_per_gpu')
  const decodes = [...series(decode, 'z_itl')].map((ms, i) => ({
    batch: ((perS[i] as number) * ms) / 1000,
    context: contexts[i] as number,
    ms,
  }))
  return fromSteps(prefills, decodes)
}

/**
 * AIConfigurator's measured points: TTFT and TPOT of an engine kept at a constant number of calls. In the steady state each decode step carries, on average, the prefill of
 * batch/osl new prompts, so TPOT = t0 + b·B + c·B·(isl + osl/2) + a·B·isl/osl.
 */
export function fitSteadyState(
  file: string,
  wanted: {
    readonly backend: string
    readonly model: string
    readonly system: string
    readonly precision: string
    readonly tensorParallel: number
  },
): FittedLaw {
  const points: Point[] = readTable(file)
    .filter(
      (row) =>
        row.mode === 'agg' &&
        row.backend === wanted.backend &&
        row.model_path === wanted.model &&
        row.system === wanted.system &&
        row.precision === wanted.precision &&
        numberAt(row, 'tp_size') === wanted.tensorParallel &&
        !(numberAt(row, 'attention_dp_size') > 1),
    )
    .map((row) => {
      const [batch, isl, osl] = [numberAt(row, 'batch_size'), numberAt(row, 'isl'), numberAt(row, 'osl')]
      return { factors: [1, batch, batch * (isl + osl / 2), (batch * isl) / osl], ms: numberAt(row, 'silicon_tpot_ms') }
    })
    .filter(({ factors, ms }) => factors.every(Number.isFinite) && ms > 0)
  const fit = fitNonNegative(points)
  const [t0 = 0, b = 0, c = 0, a = 0] = fit.coefficients
  return {
    law: simpleSum({ t0, a, a2: 0, b, c }),
    fits: { 'steady state': { meanError: fit.meanError, worstError: fit.worstError, points: fit.points } },
  }
}

function fromSteps(prefills: readonly Prefilled[], decodes: readonly Decoded[]): FittedLaw {
  const prefill = fitNonNegative(prefills.map(({ tokens, squares, ms }) => ({ factors: [1, tokens, squares], ms })))
  const decode = fitNonNegative(decodes.map(({ batch, context, ms }) => ({ factors: [1, batch, batch * context], ms })))
  const [prefillBase = 0, a = 0, a2 = 0] = prefill.coefficients
  const [decodeBase = 0, b = 0, c = 0] = decode.coefficients
  // A step takes the larger of the two floors: reading the weights for one token, or for a prompt.
  const error = ({ meanError, worstError, points }: Fit): Pick<Fit, 'meanError' | 'worstError' | 'points'> => ({
    meanError,
    worstError,
    points,
  })
  return {
    law: {
      dense: [
        { baseMs: decodeBase, perTokenMs: 0 },
        { baseMs: prefillBase, perTokenMs: a },
      ],
      head: { baseMs: 0, perCallMs: 0 },
      decode: { baseMs: 0, perCallMs: Math.max(0, b), perContextTokenMs: c },
      prefill: { baseMs: 0, perTokenMs: 0, perCachedProductMs: 2 * a2, perSquareMs: 2 * a2 },
    },
    fits: { prefill: error(prefill), decode: error(decode) },
  }
}

function simpleSum(k: { readonly t0: number; readonly a: number; readonly a2: number; readonly b: number; readonly c: number }): StepLaw {
  return {
    dense: [{ baseMs: k.t0, perTokenMs: 0 }],
    head: { baseMs: 0, perCallMs: 0 },
    decode: { baseMs: 0, perCallMs: k.b, perContextTokenMs: k.c },
    prefill: { baseMs: 0, perTokenMs: k.a, perCachedProductMs: 2 * k.a2, perSquareMs: 2 * k.a2 },
  }
}

function series(arrays: ReadonlyMap<string, Float64Array>, name: string): Float64Array {
  const found = arrays.get(name)
  if (!found) throw new Error(`the archive has no ${name}; it has ${[...arrays.keys()].join(', ')}`)
  return found
}
