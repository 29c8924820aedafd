import type { SettingPath } from './config-settings.ts'

/** What the admin may change, in the order in which it is shown. All else of the configuration stands in the file alone. */
export interface Setting {
  readonly path: SettingPath
  readonly label: string
  /** What stands behind the label: a unit, or what it means. */
  readonly says: string
  readonly kind: 'number' | 'choice' | 'switch' | 'text'
  /** Of a choice: the values that may be chosen. */
  readonly values?: readonly string[]
  /** When a change counts: 'live' within a second, 'next run' with the next training, 'restart' when Phasewise is started again. */
  readonly effect: 'live' | 'next run' | 'restart'
}

/** Settings of one group, e.g. a pool. */
export interface SettingGroup {
  readonly title: string
  readonly settings: readonly Setting[]
}

/** What the values of choices come from. */
export interface Choices {
  readonly pools: readonly string[]
  readonly policies: readonly string[]
}

const HOLD_ORDERS = ['auto', 'off', 'fcfs', 'shortest', 'priority', 'kv-time']
const MODES = ['off', 'observe', 'share', 'on']
const OBJECTIVES = ['latency', 'slo']
const AFTERWARDS = ['register', 'shadow', 'canary']

type Row = readonly [path: readonly string[], label: string, says: string, kind: Setting['kind'], effect: Setting['effect']]

const POOL: readonly Row[] = [
  [
    ['mode'],
    'Mode',
    'off: the fallback policy alone; observe: it, with the policy asked beside it; share: a share of calls; on',
    'choice',
    'live',
  ],
  [['share'], 'Share of calls', 'that the policy places in mode share, 0 to 1', 'number', 'live'],
  [['policy'], 'Policy', 'the rule that chooses the instance', 'choice', 'live'],
  [['fallbackPolicy'], 'Fallback policy', 'when the policy fails or is off', 'choice', 'live'],
  [['exploration'], 'Exploration', 'share of calls placed at random to learn from, 0 to 1', 'number', 'live'],
  [['weights', 'queue'], 'Weight of the queue', 'for the policy “weighted”', 'number', 'live'],
  [['weights', 'kv'], 'Weight of KV use', 'for the policy “weighted”', 'number', 'live'],
  [['weights', 'prefix'], 'Weight of the prefix', 'for the policy “weighted”', 'number', 'live'],
  [['weights', 'adapter'], 'Weight of the adapter', 'for the policy “weighted”', 'number', 'live'],
  [['hold', 'order'], 'Hold order', 'in which calls wait when the pool is saturated', 'choice', 'live'],
  [['hold', 'waitingMax'], 'Hold above', 'calls waiting at an instance', 'number', 'live'],
  [['hold', 'maxMs'], 'Hold at most', 'ms', 'number', 'live'],
  [['hold', 'maxCalls'], 'Calls held at most', 'calls', 'number', 'live'],
  [['hold', 'fairFloor'], 'Fair share', 'of seats that goes round among applications, 0 to 1', 'number', 'live'],
]

const NIGHT: readonly Row[] = [
  [['schedule'], 'Schedule', 'cron expression such as 0 3 * * *, or off', 'text', 'live'],
  [['timeZone'], 'Time zone', 'of the schedule', 'text', 'live'],
  [['days'], 'Days learned from', 'd', 'number', 'next run'],
  [['heldOut'], 'Held out for evaluation', 'share of the calls, 0.01 to 0.5', 'number', 'next run'],
  [
    ['objective', 'kind'],
    'Objective',
    'of the policy’s search: latency (mean E2E) or slo (share of calls in time); the gate asks for mean E2E either way',
    'choice',
    'next run',
  ],
  [
    ['objective', 'tailWeight'],
    'Weight of tails',
    'times the shipped price of a longer p99, 0 to 100; 0 lets tails pay for the mean',
    'number',
    'next run',
  ],
  [['objective', 'ttftMs'], 'In time: first token', 'ms, where the objective is slo', 'number', 'next run'],
  [
    ['objective', 'perTokenMs'],
    'In time: each token',
    'ms of the whole answer per token, where the objective is slo',
    'number',
    'next run',
  ],
  [['afterwards'], 'Afterwards', 'what is done with a model that passed', 'choice', 'next run'],
]

const REST: Readonly<Record<string, { readonly title: string; readonly rows: readonly Row[] }>> = {
  log: {
    title: 'Log and retention',
    rows: [
      [['retentionDays'], 'Calls are kept for', 'd', 'number', 'live'],
      [['maxGiB'], 'Log at most', 'GiB; beyond, the oldest calls go first', 'number', 'live'],
      [['textFeatures'], 'Text features', 'hashed words of prompts, for length prediction', 'switch', 'restart'],
    ],
  },
  health: {
    title: 'Health',
    rows: [
      [['failuresToEject'], 'Failures to eject', 'in a row', 'number', 'restart'],
      [['ejectMs'], 'First ejection', 'ms', 'number', 'restart'],
      [['ejectMaxMs'], 'Longest ejection', 'ms', 'number', 'restart'],
      [['slowStartMs'], 'Slow start', 'ms', 'number', 'restart'],
    ],
  },
  retry: {
    title: 'Retries',
    rows: [
      [['budgetRatio'], 'Retry budget', 'share of calls, 0 to 1', 'number', 'restart'],
      [['perCall'], 'Retries of one call', 'at most', 'number', 'restart'],
    ],
  },
  timeouts: {
    title: 'Timeouts',
    rows: [
      [['connectMs'], 'Connect', 'ms', 'number', 'restart'],
      [['firstByteMs'], 'First byte', 'ms', 'number', 'restart'],
      [['idleMs'], 'Silence within an answer', 'ms', 'number', 'restart'],
      [['totalMs'], 'Whole call', 'ms', 'number', 'restart'],
    ],
  },
  scrape: {
    title: 'Scrapes',
    rows: [
      [['intervalMs'], 'Interval', 'ms', 'number', 'restart'],
      [['timeoutMs'], 'Timeout', 'ms', 'number', 'restart'],
    ],
  },
}

/** Every setting there is for these pools. */
export function settingGroups(choices: Choices): readonly SettingGroup[] {
  const make = (before: SettingPath, rows: readonly Row[]): readonly Setting[] =>
    rows.map(([path, label, says, kind, effect]) => {
      const values = kind === 'choice' ? valuesOf(path.at(-1) ?? '', choices) : undefined
      return { path: [...before, ...path], label, says, kind, effect, ...(values && { values }) }
    })
  return [
    ...choices.pools.map((name) => ({ title: `Pool ${name}`, settings: make(['pools', name], POOL) })),
    { title: 'Night shift', settings: make(['night'], NIGHT) },
    ...Object.entries(REST).map(([section, { title, rows }]) => ({ title, settings: make([section], rows) })),
  ]
}

function valuesOf(name: string, { policies }: Choices): readonly string[] {
  if (name === 'mode') return MODES
  if (name === 'order') return HOLD_ORDERS
  if (name === 'kind') return OBJECTIVES
  return name === 'afterwards' ? AFTERWARDS : policies
}
