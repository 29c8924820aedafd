/**
 * Every metric we tell, by name, unit and buckets. OpenTelemetry wants seconds and so does this room's output; the rest of the
 * plugin speaks ms and knows nothing of it.
 */
export interface MetricDefinition {
  readonly name: string
  readonly description: string
  readonly unit: 's' | '{token}' | '{call}' | '{row}' | '{instance}' | '{retry}' | '{loss}'
  readonly kind: 'histogram' | 'counter' | 'gauge'
  /** Upper bounds of the histogram's buckets, ascending, in `unit`; empty for the other kinds. */
  readonly boundaries: readonly number[]
}

const GEN_AI_OPERATION_S = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
const GEN_AI_TTFT_S = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
const GEN_AI_TPOT_S = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5]
const GEN_AI_TOKENS = Array.from({ length: 14 }, (_, power) => 4 ** power)

const histogram = (name: string, unit: MetricDefinition['unit'], boundaries: readonly number[], description: string): MetricDefinition => ({
  name,
  unit,
  boundaries,
  description,
  kind: 'histogram',
})
const counter = (name: string, unit: MetricDefinition['unit'], description: string): MetricDefinition => ({
  name,
  unit,
  boundaries: [],
  description,
  kind: 'counter',
})

/**
 * The GenAI histograms (semantic-conventions-genai, Development). Their boundaries are the conventions' own, and beyond them: calls
 * may take our total timeout of 1,800 s, a first token waits minutes on an overloaded fleet, and a small model decodes in under 10 ms.
 */
export const GEN_AI = {
  requestDuration: histogram(
    'gen_ai.server.request.duration',
    's',
    [...GEN_AI_OPERATION_S, 163.84, 327.68, 655.36, 1310.72],
    'From arrival to the last byte, hold and retries included',
  ),
  timeToFirstToken: histogram(
    'gen_ai.server.time_to_first_token',
    's',
    [...GEN_AI_TTFT_S, 25, 60, 300],
    'From arrival to the first token of completed calls',
  ),
  timePerOutputToken: histogram(
    'gen_ai.server.time_per_output_token',
    's',
    [0.001, 0.0025, 0.005, ...GEN_AI_TPOT_S],
    'Mean time per output token after the first, of completed calls',
  ),
  tokenUsage: histogram('gen_ai.client.token.usage', '{token}', GEN_AI_TOKENS, 'Tokens in and out per call'),
} as const

/** What the loop itself did. Buckets of the decision span the 10 to 400 µs it may cost (1 µs to 100 ms). */
export const LOOP = {
  calls: counter('phasewise.calls', '{call}', 'Settled calls by outcome'),
  placements: counter('phasewise.placements', '{call}', 'Placements by policy and reason'),
  explored: counter('phasewise.explored', '{call}', 'Placements drawn by exploration'),
  fallbacks: counter('phasewise.fallbacks', '{call}', 'Placements by the fallback policy because the chosen policy failed or was late'),
  retries: counter('phasewise.retries', '{retry}', 'Attempts after the first'),
  lost: counter('phasewise.lost', '{loss}', 'Things lost, by what'),
  decisionDuration: histogram(
    'phasewise.decision.duration',
    's',
    [1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 0.025, 0.1],
    'Time the decision itself took',
  ),
  holdDuration: histogram(
    'phasewise.hold.duration',
    's',
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    'Time calls were held before they were placed; only held calls are in here',
  ),
} as const

/** What is read when somebody looks, by the name `observe` callbacks use. */
export const READINGS = {
  inFlight: { ...counter('phasewise.in_flight', '{call}', 'Calls in flight by the ledger'), kind: 'gauge' },
  held: { ...counter('phasewise.held', '{call}', 'Calls held now'), kind: 'gauge' },
  instances: { ...counter('phasewise.instances', '{instance}', 'Instances by state'), kind: 'gauge' },
  logQueue: { ...counter('phasewise.log.queue', '{row}', 'Rows waiting to be written'), kind: 'gauge' },
  logDropped: counter('phasewise.log.dropped', '{row}', 'Rows dropped because the queue was full'),
  logWritten: counter('phasewise.log.written', '{row}', 'Rows written'),
} as const satisfies Readonly<Record<string, MetricDefinition>>

export type ReadingName = keyof typeof READINGS
