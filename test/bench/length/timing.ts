import { systemClock } from '../../../plugin/clock.ts'
import type { LengthCase } from '../../../plugin/learning/length-rows.ts'
import { createLearnedLength } from '../../../plugin/prediction/learned-length.ts'
import { LengthHistory } from '../../../plugin/prediction/length-history.ts'
import type { LengthModel } from '../../../plugin/prediction/length-model.ts'
import type { TextReader } from '../../../plugin/prediction/text/reading.ts'
import { median, quantile, type Row, rounded } from '../harness.ts'

const WARM = 2_000
const SIZES = [64, 256, 1_024, 4_096, 65_536]
const TIMES = 1_500
/** Prompts up to this many bytes are what the bar is about. */
const PROMPT_BYTES_MAX = 4_096

export interface Timing {
  readonly rows: readonly Row[]
  readonly us50: number
  readonly us99: number
}

/** µs for reading the text and predicting, with a history that knows the application: real prompts up to 4 KB, then one prompt of each size. */
export function measureTime(parts: {
  readonly model: LengthModel
  readonly readText: TextReader
  readonly cases: readonly LengthCase[]
}): Timing {
  const { model, readText, cases } = parts
  const counted: string[] = []
  const lengths = createLearnedLength({
    model,
    history: new LengthHistory(),
    nowMs: systemClock.nowMs,
    count: (what) => counted.push(what),
  })
  const real = cases.filter((one) => one.call.promptBytes <= PROMPT_BYTES_MAX)
  const time = (one: LengthCase, text: string): number => {
    const startMs = systemClock.nowMs()
    const call = { ...one.call, reading: readText(text) }
    const prediction = lengths.predict('pool', call, 100)
    const endMs = systemClock.nowMs()
    lengths.learn('pool', call, one, prediction)
    return (endMs - startMs) * 1_000
  }
  for (let i = 0; i < WARM; i++) time(real[i % real.length]!, real[i % real.length]!.of.prompt!)
  const us = real.map((one) => time(one, one.of.prompt!))
  const rows: Row[] = [{ prompts: `${real.length} real ones up to 4 KB`, us50: rounded(median(us)), us99: rounded(quantile(us, 0.99)) }]
  const all = cases.map((one) => one.of.prompt).join('\n')
  const template = real[0]!
  for (const size of SIZES) {
    const own = Array.from({ length: TIMES }, (_, i) => {
      const at = (i * 977) % (all.length - size)
      return time(template, all.slice(at, at + size))
    })
    rows.push({ prompts: `${size} characters`, us50: rounded(median(own)), us99: rounded(quantile(own, 0.99)) })
  }
  const fallbacks = counted.filter((what) => what !== 'length model late')
  if (fallbacks.length > 0) throw new Error(`predictions fell back: ${fallbacks[0]}`)
  return { rows, us50: median(us), us99: quantile(us, 0.99) }
}
