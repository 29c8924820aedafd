import { createIdSource } from './call/id.ts'
import { TokenEstimator } from './call/tokens.ts'
import { systemClock } from './clock.ts'
import { type Config, environment, type PoolConfig } from './config.ts'
import { createOpenAiProxy } from './gateways/openai/proxy.ts'
import { BASE_POLICY_FOLDER, readPolicyModel } from './learning/policy-folder.ts'
import { FLEET_INTENTS } from './log/control/fleet-changes.ts'
import { ACCEPT_CHANGE } from './log/control/instance-changes.ts'
import { openLog } from './log/open.ts'
import type { Log } from './log/rows.ts'
import { listenProblem, type Running, runChild, type StartMessage } from './main-child.ts'
import { openEnvoy } from './main-envoy.ts'
import { type LiveFleet, startFleet } from './main-fleet.ts'
import { type LiveLengths, openLengths } from './main-lengths.ts'
import { openLine, openPlacements } from './main-placements.ts'
import { routerPool } from './main-pools.ts'
import { openServing, SERVING_INTENTS, type Serving } from './main-serving.ts'
import { createLiveSettings, retentionOf, settle } from './main-settings.ts'
import { VERSION } from './main-version.ts'
import type { Outcome } from './outcome/outcome.ts'
import { type LearnedModel, ModelRefused } from './placement/learned-model.ts'
import { LEARNED } from './placement/policies.ts'
import { createRng, type Rng } from './rng.ts'
import { obeyIntent, startBeat } from './router-beat.ts'
import { InstanceChanges } from './router-changes.ts'
import { createRouter, type LiveRouter, type RouterPool, type TokenCounts } from './router-place.ts'
import type { LiveTicket } from './router-ticket.ts'
import { createTelemetry, type Telemetry } from './telemetry/telemetry.ts'

/** The router process: gateways, fleet, placement; the only one on the hot path. */
export function runRouterRole(): void {
  runChild(startRouter)
}

/** Calls told on the console after a start, so that a user sees the first ones placed. */
const TOLD_CALLS = 5
/** In-flight calls get this long to end by themselves when the process is asked to leave; all must be gone within 10 s. */
const DRAIN_MS = 6_000
/** How often losses are written to the log's counters. */
const COUNTERS_MS = 1_000

async function startRouter(message: StartMessage, tell: (line: string) => void): Promise<Running> {
  const { config, refused } = settle(message.input)
  const clock = systemClock
  const rng = createRng(config.seed ?? clock.nowUnixMs() % 2 ** 32)
  const warn = (text: string): void => console.error(`phasewise: ${text}`)
  if (refused !== undefined) warn(refused)
  const telemetry = await openTelemetry(config)
  const log = await openLog({
    dataDir: config.dataDir,
    clock,
    retention: retentionOf(config),
    warn,
    intentKinds: [
      'drain',
      'undrain',
      'switch off',
      'switch on',
      'settings',
      ACCEPT_CHANGE,
      ...Object.keys(FLEET_INTENTS),
      ...SERVING_INTENTS,
    ],
  })
  const losses = createLosses(log, telemetry)
  for (const [role, crashes] of Object.entries(message.crashes)) losses.count(`crashed: ${role}`, crashes)
  const live = startFleet({ config, env: environment(), clock, rng, warn, changes: log.fleetChanges, count: losses.count })
  await live.found
  for (const { pool, instance } of log.drained) live.fleet.drain(pool, instance)
  const lengths = await openLengths({ dataDir: config.dataDir, model: config.prediction.lengthModel, clock, count: losses.count, warn })
  const { readText } = lengths
  const changes = new InstanceChanges({ known: log.instanceChanges, report: log.report, count: losses.count, clock })
  const serving = openServing({ config, lengths, changes, clock, count: losses.count, warn })
  const router = openRouter({ config, live, lengths, serving, changes, log, telemetry, rng, count: losses.count, tell })
  await serving.restore(router)
  if (log.isOff) router.switchOff(true)
  const settings = createLiveSettings({
    input: message.input,
    started: config,
    router: { configure: (pool) => router.configure(withWhatWasLearned(pool, { serving, changes })) },
    log,
    model: () => readServingPolicy(tell, losses.count),
  })
  log.onIntent(async (intent) => {
    if (SERVING_INTENTS.includes(intent.kind)) return serving.obey(router, intent)
    return intent.kind === 'settings' ? settings.obey() : obeyIntent({ fleet: live.fleet, changed: live.changed, changes, router }, intent)
  })
  const facts = {
    pid: process.pid,
    version: VERSION,
    pools: () => settings.pools().map((pool) => describePool(pool, serving.insteadOf(pool))),
  }
  const stopBeat = startBeat({ fleet: live.fleet, router, log, telemetry, clock, facts })
  const nextCallId = createIdSource(() => clock.nowUnixMs())
  const proxy = await openProxy({ config, live, router, telemetry, count: losses.count, nextCallId, readText })
  const picker = await openEnvoy({ config, live, router, telemetry, count: losses.count, warn, nextCallId, readText })
  const api = { config, live, router, count: losses.count, nextCallId, readText }
  const placements = await openPlacements(api)
  const line = await openLine(api, message.line)
  return {
    facts: {
      ...(proxy ? { proxy: proxy.url } : {}),
      ...(picker ? { picker: picker.address } : {}),
      ...(placements ? { placements: placements.address } : {}),
      line: line.url,
      ...(telemetry.metricsUrl ? { metrics: telemetry.metricsUrl } : {}),
    },
    async drain() {
      router.shed()
      await Promise.all([proxy?.close(DRAIN_MS), picker?.close(DRAIN_MS), placements?.close(DRAIN_MS), line.close(0)])
      stopBeat()
      losses.stop()
      await live.close(0)
      await log.flush()
      await lengths.close()
      serving.close()
      await log.close()
      await telemetry.close()
    },
  }
}

/** A pool as pages show it: in the policy's place its words where the mode is not on, or the rule that places instead of what was set aside. */
function describePool({ name, policy, fallbackPolicy, mode, share, models }: PoolConfig, instead: string | undefined) {
  if (instead !== undefined && mode !== 'off') return { name, policy: `${instead} (the learned policy is set aside)`, models }
  const words = {
    on: policy,
    off: `${fallbackPolicy} (mode off)`,
    observe: `${fallbackPolicy} (${policy} observed)`,
    share: `${policy} for ${Math.round(share * 100)} % of calls, else ${fallbackPolicy}`,
  }
  return { name, policy: words[mode], models }
}

async function openTelemetry(config: Config): Promise<Telemetry> {
  const listen = config.telemetry.metrics
  try {
    return await createTelemetry({ metricsListen: listen, otlp: config.otlp, version: VERSION, clock: systemClock })
  } catch (error) {
    throw listenProblem((error as Error).cause ?? error, 'telemetry.metrics', `${listen?.host}:${listen?.port}`)
  }
}

/** Losses go to the metrics at once and to the stored counters every second, summed. */
function createLosses(log: Log, telemetry: Telemetry): { count(what: string, by?: number): void; stop(): void } {
  const since = new Map<string, number>()
  const write = (): void => {
    const atUnixMs = systemClock.nowUnixMs()
    for (const [name, by] of since) log.append({ kind: 'counter', name, by, atUnixMs })
    since.clear()
  }
  const timer = setInterval(write, COUNTERS_MS)
  return {
    count(what, by = 1) {
      since.set(what, (since.get(what) ?? 0) + by)
      telemetry.count(what, by)
    },
    stop() {
      clearInterval(timer)
      write()
    },
  }
}

interface Opening {
  readonly config: Config
  readonly live: LiveFleet
  readonly lengths: LiveLengths
  readonly serving: Serving
  readonly changes: InstanceChanges
  readonly log: Log
  readonly telemetry: Telemetry
  readonly rng: Rng
  readonly count: (what: string) => void
  readonly tell: (line: string) => void
}

function openRouter({ config, live, lengths, serving, changes, log, telemetry, rng, count, tell }: Opening): LiveRouter {
  const engines = new Map(config.pools.map((pool) => [pool.name, pool.engine]))
  let told = 0
  const settled = (ticket: LiveTicket, outcome: Outcome): void => {
    const { call, gateway, decisionRow } = ticket.input
    changes.settled(ticket, outcome)
    telemetry.callSettled({
      call,
      gateway,
      pool: ticket.pool.name,
      provider: engines.get(ticket.pool.name) ?? 'other',
      instance: ticket.instance,
      placement: ticket.placement,
      decisionUs: decisionRow.decisionUs,
      heldMs: decisionRow.heldMs,
      attempts: ticket.attempts.length,
      outcome,
    })
    if (told < TOLD_CALLS) {
      told++
      tell(describeCall(ticket, outcome))
    }
  }
  const model = config.pools.some((pool) => pool.policy === LEARNED) ? readServingPolicy(tell, count) : undefined
  return createRouter({
    pools: config.pools.map((pool) => withWhatWasLearned(routerPool(pool, model), { serving, changes })),
    fleet: live.fleet,
    tokens: createTokenCounts(),
    lengths: lengths.predictor,
    log,
    events: { settled, count, trialEnded: (ending) => log.report({ kind: 'trial over', ...ending }) },
    clock: systemClock,
    rng: rng.stream('placement'),
    textFeatures: config.log.textFeatures,
    retriesPerCall: config.retry.perCall,
  })
}

/** A promoted profile is believed before the configured one, and what was noticed since before both. */
function withWhatWasLearned(pool: RouterPool, { serving, changes }: Pick<Opening, 'serving' | 'changes'>): RouterPool {
  const profileOf: RouterPool['profileOf'] = (instance) => serving.profileOf(pool.name, instance) ?? pool.profileOf?.(instance)
  return { ...pool, profileOf: (instance) => changes.shapeOf(instance, profileOf(instance)) }
}

/** The policy model that ships; undefined, said and counted, where it cannot be had: the fallback policies decide then. */
function readServingPolicy(tell: (line: string) => void, count: (what: string) => void): LearnedModel | undefined {
  try {
    return readPolicyModel(BASE_POLICY_FOLDER)
  } catch (error) {
    if (!(error instanceof ModelRefused)) throw error
    count('policy model refused')
    tell(`${error.message}; the fallback policy decides`)
    return undefined
  }
}

/** One estimator per pool, made when its first call comes. */
function createTokenCounts(): TokenCounts {
  const pools = new Map<string, TokenEstimator>()
  const of = (pool: string): TokenEstimator => {
    const known = pools.get(pool) ?? new TokenEstimator()
    pools.set(pool, known)
    return known
  }
  return {
    estimate: (pool, call) => of(pool).estimate(call),
    learn: (pool, call, promptTokens) => of(pool).learn(call, promptTokens),
  }
}

function describeCall(ticket: LiveTicket, outcome: Outcome): string {
  const { call, decisionRow } = ticket.input
  const seconds = (ms: number | undefined): string => (ms === undefined ? '' : `${(ms / 1_000).toFixed(2)} s`)
  const ttft = outcome.ttftMs === undefined ? '' : `, first token after ${seconds(outcome.ttftMs)}`
  return `  ${call.caller.application}: ${Math.round(decisionRow.promptTokensEstimate)} prompt tokens → ${ticket.instance.name} (${decisionRow.reason}), ${outcome.outputTokens ?? '?'} tokens in ${seconds(outcome.e2eMs)}${ttft}`
}

async function openProxy(parts: {
  readonly config: Config
  readonly live: LiveFleet
  readonly router: LiveRouter
  readonly telemetry: Telemetry
  readonly count: (what: string) => void
  readonly nextCallId: () => number
  readonly readText: LiveLengths['readText']
}): Promise<{ readonly url: string; close(drainMs: number): Promise<void> } | undefined> {
  const { config, live, router, telemetry, count, nextCallId, readText } = parts
  const { listen, bodyLimitMiB, callerKeys, debugHeaders } = config.gateways.openai
  if (!listen) return undefined
  try {
    return await createOpenAiProxy({
      listen,
      router,
      connections: live.connections,
      callerKeys,
      debugHeaders,
      bodyLimitBytes: bodyLimitMiB * 1024 ** 2,
      timeouts: config.timeouts,
      textFeatures: config.log.textFeatures,
      readText,
      clock: systemClock,
      telemetry,
      count,
      nextCallId,
      providerOf: (pool) => config.pools.find((one) => one.name === pool)?.engine ?? 'other',
      anyInstance: (model) => {
        const { count: eligible, instances } = live.fleet.candidates(router.poolFor(model)?.name ?? '')
        return eligible > 0 ? instances[0] : undefined
      },
    })
  } catch (error) {
    throw listenProblem(error, 'gateways.openai.listen', `${listen.host}:${listen.port}`)
  }
}
