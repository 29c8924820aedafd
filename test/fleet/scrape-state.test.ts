import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Dispatch, Ledger } from '../../plugin/fleet/ledger.ts'
import { readMetrics } from '../../plugin/fleet/metrics-text.ts'
import { ScrapeState } from '../../plugin/fleet/scrape-state.ts'
import { ANSWERED, smallFleet } from './small-fleet.ts'

const body = (waiting: number, running: number): string => `vllm:num_requests_waiting ${waiting}\nvllm:num_requests_running ${running}\n`

test('waiting + running = own in flight + foreign, however calls come and go between two scrapes', () => {
  const moves = fc.array(fc.oneof(fc.constant('in' as const), fc.constant('out' as const), fc.tuple(fc.nat(20), fc.nat(20))), {
    maxLength: 60,
  })
  fc.assert(
    fc.property(moves, (steps) => {
      const ledger = new Ledger()
      const state = new ScrapeState(ledger)
      const open: Dispatch[] = []
      let scraped = false
      for (const [nowMs, step] of steps.entries()) {
        if (step === 'in') open.push(ledger.dispatch({ callId: nowMs, stream: true, promptTokens: 1 }, nowMs))
        else if (step === 'out') {
          const one = open.shift()
          if (one) ledger.release(one)
        } else {
          state.apply(state.mark(nowMs), readMetrics(body(step[0], step[1])))
          scraped = true
          expect(state.foreignInFlight).toBe(Math.max(0, step[0] + step[1] - ledger.inFlight))
        }
        if (scraped) expect(state.waiting + state.running).toBe(ledger.inFlight + state.foreignInFlight)
        else expect([state.waiting, state.running, state.foreignInFlight]).toEqual([Number.NaN, Number.NaN, Number.NaN])
      }
    }),
  )
})

test('a queue seen at the scrape takes the change, free seats take it in the batch', () => {
  const small = smallFleet(2)
  const { scrape } = small.at('a')
  small.scrape('a', 'vllm:num_requests_waiting 2', 'vllm:num_requests_running 8')
  const dispatch = small.send('a')
  expect([scrape.waiting, scrape.running]).toEqual([3, 8])
  small.end('a', dispatch, ANSWERED)
  expect([scrape.waiting, scrape.running, scrape.foreignInFlight]).toEqual([2, 8, 10])
  small.scrape('b', 'vllm:num_requests_waiting 0', 'vllm:num_requests_running 1')
  small.send('b')
  expect([small.at('b').scrape.waiting, small.at('b').scrape.running]).toEqual([0, 2])
})

test('a call that comes between a scrape and its answer is not taken for a stranger', () => {
  const small = smallFleet(1)
  const one = small.at('a')
  const mark = small.fleet.beginScrape(one, small.nowMs)
  small.send('a')
  small.fleet.applyScrape(one, mark, body(0, 1), small.nowMs + 10)
  expect(one.scrape.foreignInFlight).toBe(0)
})

test('a stale scrape is unknown again, never 0', () => {
  const small = smallFleet(1)
  small.scrape('a', 'vllm:num_requests_waiting 0', 'vllm:num_requests_running 1', 'vllm:kv_cache_usage_perc 0.5')
  const { scrape } = small.at('a')
  small.pass(5_000)
  expect([scrape.running, scrape.kvUsageRatio, scrape.ageMs(small.nowMs)]).toEqual([1, 0.5, 5_000])
  small.pass(100)
  expect([scrape.waiting, scrape.running, scrape.kvUsageRatio, scrape.foreignInFlight]).toEqual(Array(4).fill(Number.NaN))
  expect(new ScrapeState(new Ledger()).ageMs(3)).toBe(Number.POSITIVE_INFINITY)
})

test('an answer that was asked for earlier never replaces a later one', () => {
  const small = smallFleet(1)
  const one = small.at('a')
  const early = small.fleet.beginScrape(one, 10)
  const late = small.fleet.beginScrape(one, 20)
  small.fleet.applyScrape(one, late, body(0, 5), 30)
  small.fleet.applyScrape(one, early, body(0, 9), 31)
  expect(one.scrape.running).toBe(5)
})

test('the prefix hit ratio is that of the recent queries, and starts over with the engine', () => {
  const small = smallFleet(1)
  const { scrape } = small.at('a')
  const tell = (hits: number, queries: number): void => {
    small.nowMs += 250
    small.scrape('a', `vllm:prefix_cache_hits_total ${hits}`, `vllm:prefix_cache_queries_total ${queries}`)
  }
  expect(scrape.prefixHitRatio).toBeNaN()
  tell(10, 100)
  expect(scrape.prefixHitRatio).toBeCloseTo(0.1)
  for (let i = 1; i <= 400; i++) tell(10 + 90 * i, 100 + 100 * i)
  expect(scrape.prefixHitRatio).toBeGreaterThan(0.89)
  tell(1, 10)
  expect(scrape.prefixHitRatio).toBeCloseTo(0.1)
})

test('waiting alone, without running, is still corrected; the foreign load stays unknown', () => {
  const small = smallFleet(1)
  small.scrape('a', 'tgi_queue_size 3')
  small.send('a')
  const { scrape } = small.at('a')
  expect([scrape.waiting, scrape.running, scrape.foreignInFlight]).toEqual([4, Number.NaN, Number.NaN])
})

test('at most those wait who waited at the scrape and who came since; unknown without a scrape', () => {
  const small = smallFleet(1)
  const { scrape } = small.at('a')
  expect(scrape.waitingMost).toBeNaN()
  const first = small.send('a')
  small.scrape('a', 'vllm:num_requests_waiting 1', 'vllm:num_requests_running 2')
  expect(scrape.waitingMost).toBe(1)
  small.send('a')
  small.end('a', first, ANSWERED)
  expect(scrape.waitingMost).toBe(2)
})

test('KV memory that the ledger cannot explain: foreign load above it, shared prefixes below, prompts not yet prefilled are no riddle', () => {
  const ledger = new Ledger()
  const state = new ScrapeState(ledger)
  const prefilled = ledger.dispatch({ callId: 1, stream: true, promptTokens: 600 }, 0)
  ledger.progress(prefilled, 40, 1)
  ledger.dispatch({ callId: 2, stream: true, promptTokens: 300 }, 1)
  const unseen = (kvUsage: number): number => {
    const text = `vllm:cache_config_info{block_size="16",num_gpu_blocks="100"} 1\nvllm:kv_cache_usage_perc ${kvUsage}\n`
    state.apply(state.mark(2), readMetrics(text))
    return state.kvTokensUnseen
  }
  expect(state.kvTokensUnseen).toBeNaN()
  expect(unseen(0.4)).toBe(0)
  expect(unseen(0.5)).toBe(0)
  expect(unseen(0.75)).toBe(1_200 - 940)
  expect(unseen(0.25)).toBe(400 - 640)
  state.expire()
  expect(state.kvTokensUnseen).toBeNaN()
})
