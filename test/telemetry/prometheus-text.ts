/** A small reader of the Prometheus text format, strict about what the format demands. */
export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}
export interface MetricsText {
  readonly samples: readonly Sample[]
  /** Metric name → 'counter', 'gauge', 'histogram'. */
  readonly kinds: ReadonlyMap<string, string>
  readonly units: ReadonlyMap<string, string>
}

/** Parses a whole page; throws on the first line that is not in the format. */
export function parseMetricsText(text: string): MetricsText {
  const kinds = new Map<string, string>()
  const units = new Map<string, string>()
  const samples: Sample[] = []
  for (const line of text.split('\n')) {
    const comment = /^# (HELP|TYPE|UNIT) (\S+) (.*)$/.exec(line)
    if (comment?.[1] === 'TYPE') kinds.set(comment[2]!, comment[3]!)
    if (comment?.[1] === 'UNIT') units.set(comment[2]!, comment[3]!)
    if (comment || line === '') continue
    const sample = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line)
    if (!sample) throw new Error(`not a line of the Prometheus text format: ${line}`)
    const labels = Object.fromEntries([...(sample[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map((each) => [each[1], each[2]]))
    samples.push({ name: sample[1]!, labels, value: sample[3] === '+Inf' ? Number.POSITIVE_INFINITY : Number(sample[3]) })
  }
  return { samples, kinds, units }
}
