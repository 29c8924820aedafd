import type { LabResult, LabRow } from '../../plugin/log/control/lab.ts'
import type { Control } from '../../plugin/log/control.ts'

/** A registry, nights, a canary, notices and results of the Lab, as a fleet has them after some weeks. `poison` is appended to every text of others. */
export function furnish(control: Control, poison = ''): { readonly modelId: number; readonly championId: number; readonly labId: number } {
  const night = control.trainingRuns.append({ askedBy: `schedule${poison}`, plan: { trigger: 'schedule' } })
  control.trainingRuns.start(night, 4711)
  control.trainingRuns.say(night, `214,806 calls, 213,990 of them answered${poison}`)
  control.trainingRuns.say(night, 'length: 12 epochs, held-out loss 0.412')
  control.trainingRuns.plot(
    night,
    Array.from({ length: 40 }, (_, i) => ({ curve: `policy: mean E2E ratio${poison}`, x: i, y: 1 - 0.27 * (1 - Math.exp(-i / 9)) })),
  )
  control.trainingRuns.progress(night, {
    progressRatio: 1,
    phase: 'registering',
    detail: JSON.stringify({ calls: 214_806, used: 213_990, leftOut: { [`no usage${poison}`]: 816 } }),
  })
  control.trainingRuns.end(night, { state: 'done' })
  const failed = control.trainingRuns.append({
    askedBy: 'maria',
    plan: { trigger: 'admin', only: 'length', application: `support-bot${poison}` },
  })
  control.trainingRuns.start(failed, 4712)
  control.trainingRuns.end(failed, { state: 'failed', error: `there are no calls of this application: choose another window${poison}` })
  const length = register(control, 'length', `length-31aa${poison}`, night, lengthCard(0.91, poison))
  const champion = register(control, 'policy', `policy-17bb${poison}`, night, policyCard(poison))
  const profileModelId = registerProfiles(control, night, poison)
  const challenger = register(control, 'policy', `policy-18cc${poison}`, night, policyCard(poison), { profileModelId })
  const asked = { who: `maria${poison}`, why: `it passed, and the canary held its promise${poison}` }
  control.models.promote(length, asked)
  control.models.promote(champion, asked)
  control.models.challenge(challenger)
  const trial = control.trials.start({
    mode: 'canary',
    models: { policy: champion },
    shareRatio: 0.5,
    blockMs: 600_000,
    washoutMs: 60_000,
    blocksPlanned: 46,
    seed: 7,
    asked,
  })
  control.trials.setResult(
    trial.trialId,
    JSON.stringify({
      gain: 0.274,
      low: 0.249,
      high: 0.298,
      controlBlocks: 23,
      challengerBlocks: 23,
      words: `27.4 % lower mean E2E (95 % interval 24.9 % to 29.8 %)${poison}`,
    }),
  )
  control.trials.end({ trialId: trial.trialId, state: 'ended', by: 'maria', why: `enough blocks${poison}` })
  control.notices.append({ tone: 'warn', text: `Profile of l40s-1: 8 % slower than last week${poison}`, href: '/fleet' })
  const labId = control.labRuns.append({
    plan: { source: { kind: 'scenario', name: 'v100x4@20' }, arms: ['round-robin', 'least-kv', 'impact'], loads: [0.7, 1], seeds: 5 },
    askedBy: `maria${poison}`,
  })
  control.labRuns.start(labId, 4713)
  control.labRuns.finish(labId, labResult(poison))
  const broken = control.labRuns.append({
    plan: {
      source: { kind: 'stored', pool: `llama-8b-chat${poison}`, fromUnixMs: 1_794_990_000_000, toUnixMs: 1_795_000_000_000 },
      arms: ['as-logged', 'impact'],
      loads: [1],
      seeds: 1,
    },
    askedBy: 'maria',
  })
  control.labRuns.end(broken, { state: 'failed', error: `pool llama-8b-chat has no stored calls in this time${poison}` })
  for (const { intentId } of control.intents.open()) control.intents.answer(intentId, { state: 'done', text: 'obeyed' })
  return { modelId: challenger, championId: champion, labId }
}

/** Profiles of two types of instances: one learned, one that saw too few calls. */
function registerProfiles(control: Control, runId: number, poison: string): number {
  const version = `profile-19dd${poison}`
  const folder = `models/profile/${version}`
  const card = JSON.stringify({ kind: 'profile', data: { pool: `llama-8b-chat${poison}` } })
  const modelId = control.models.register({
    kind: 'profile',
    version,
    sha256: 'cd'.repeat(32),
    featureHash: null,
    card,
    folder,
    runId,
    parent: null,
  })
  const about = (value: number | null, error: number | null) => ({ value, error })
  const instance = (name: string, factor: number, state: 'fitted' | 'prior') => ({
    instance: `${name}${poison}`,
    state,
    calls: state === 'fitted' ? 48_210 : 212,
    ...(state === 'fitted' ? { heldOut: { calls: 9_642, ttft: 0.011, tpot: -0.002, e2e: 0.004 } } : {}),
    coefficients: {
      floorMs: about(state === 'fitted' ? 9.4 * factor : null, 0.05),
      densePerTokenMs: about(state === 'fitted' ? 0.021 * factor : null, 0.001),
      perPromptTokenMs: about(state === 'fitted' ? 0.055 * factor : null, 0.002),
      perCallMs: about(state === 'fitted' ? 0.05 * factor : null, 0.004),
      perContextTokenMs: about(state === 'fitted' ? 9e-5 * factor : null, null),
    },
    limits: { kvBlocks: 25_000, kvFrom: 'told', seats: 256, seatsFrom: 'scrapes' },
  })
  const instances = [instance('a100-0', 1, 'fitted'), instance('a100-1', 1, 'fitted'), instance('l40s-0', 2, 'prior')]
  const numbers = JSON.stringify({ pool: `llama-8b-chat${poison}`, instances })
  control.models.addVerdict({ modelId, runId, passed: true, words: `profiles of 2 of 3 instances${poison}`, numbers })
  control.models.challenge(modelId)
  return modelId
}

function register(
  control: Control,
  kind: 'length' | 'policy',
  version: string,
  runId: number,
  card: object,
  goesWith: { readonly profileModelId?: number } = {},
): number {
  const modelId = control.models.register({
    kind,
    version,
    sha256: 'ab'.repeat(32),
    featureHash: 'd084285d',
    card: JSON.stringify(card),
    folder: `models/${kind}/${version}`,
    runId,
    parent: 'base',
    ...goesWith,
  })
  control.models.addVerdict({
    modelId,
    runId,
    passed: true,
    words:
      kind === 'length'
        ? 'median factor 1.28, better than the champion by 4 %'
        : '25.8 % lower mean E2E than least-request-speed (95 % interval 22.1 % to 29.0 %) on 4,812 later calls played in the twin',
    numbers: JSON.stringify(
      kind === 'length'
        ? { values: { medianFactor: [1.28, 1.27, 1.29] } }
        : {
            gain: [0.258, 0.221, 0.29],
            gainVsLeastRequest: [0.301, 0.27, 0.33],
            gainVsBestRule: [0.062, 0.01, 0.11],
            ttftP99Ratio: 0.94,
            calls: 4_812,
            arms: [
              { arm: 'least-request-speed', meanE2eMs: 3_410 },
              { arm: 'impact', meanE2eMs: 2_700 },
              { arm: 'challenger', meanE2eMs: 2_530 },
            ],
          },
    ),
  })
  return modelId
}

const lengthCard = (spearman: number, poison: string) => ({
  kind: 'length',
  rows: 213_990,
  command: `npm run phasewise -- train --seed 1${poison}`,
  measured: {
    how: 'later calls, 95 % bootstrap intervals',
    values: {
      spearman: [spearman, spearman - 0.01, spearman + 0.01],
      coverage50: [0.51, 0.49, 0.53],
      coverage80: [0.79, 0.78, 0.81],
      coverage95: [0.94, 0.93, 0.95],
    },
    buckets: [
      { bucket: `to 64 tokens${poison}`, medianFactor: 1.4 },
      { bucket: '64 to 256', medianFactor: 1.3 },
      { bucket: '256 and more', medianFactor: 1.2 },
    ],
  },
})

const policyCard = (poison: string) => ({
  kind: 'policy',
  version: `policy${poison}`,
  generations: 40,
  seed: 1,
  measured: { values: { fitness: 0.741 } },
})

function labResult(poison: string): LabResult {
  const row = (load: number, arm: string, meanE2eMs: number, gain?: number): LabRow => ({
    load,
    arm,
    meanE2eMs,
    lowE2eMs: meanE2eMs * 0.96,
    highE2eMs: meanE2eMs * 1.04,
    p50E2eMs: meanE2eMs * 0.8,
    p95E2eMs: meanE2eMs * 2.4,
    p99E2eMs: meanE2eMs * 3.1,
    meanTtftMs: meanE2eMs * 0.2,
    p99TtftMs: meanE2eMs * 0.9,
    meanHeldMs: 0,
    lost: 0,
    ...(gain === undefined ? {} : { gain: { mean: gain, low: gain - 0.03, high: gain + 0.03 } }),
  })
  const rows = [0.7, 1].flatMap((load) => [
    row(load, 'round-robin', 6_100 * load),
    row(load, 'least-kv', 5_400 * load, 0.115),
    row(load, `impact${poison}`, 4_300 * load, 0.295),
  ])
  return {
    label: `v100x4@20: v100-32g, mix wide${poison}`,
    calls: 2_000,
    samples: 5,
    sampleName: 'seeds',
    fleet: ['i0: v100-32g', 'i1: v100-32g'],
    rows,
  }
}
