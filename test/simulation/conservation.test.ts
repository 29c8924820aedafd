import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createEngine } from '../../plugin/simulation/engine.ts'
import { profileNamed } from '../../plugin/simulation/profiles.ts'
import { KvBlocks } from './plain/kv-blocks.ts'

const script = fc.array(
  fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('submit' as const),
        prompt: fc.integer({ min: 1, max: 150 }),
        output: fc.integer({ min: 1, max: 60 }),
        family: fc.integer({ min: 0, max: 3 }),
      }),
    },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('step' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('abort' as const), pick: fc.nat() }) },
  ),
  { maxLength: 120 },
)

describe('I11: KV blocks are conserved', () => {
  test.each(['v0', 'v1'] as const)('whatever is submitted, stepped and aborted, in %s order', (order) => {
    fc.assert(
      fc.property(script, fc.boolean(), (actions, prefixCache) => {
        const engine = createEngine({
          profile: profileNamed('a100-7b'),
          order,
          prefixCache,
          kvBlocks: 24,
          seats: 5,
          budgetTokens: 64,
          admissionKvRatio: 1,
        })
        const wanted = new Map<number, number>()
        const emitted = new Map<number, number>()
        const gone = new Set<number>()
        let id = 0
        const check = () => {
          const { kvBlocks, kvBlocksUsed, kvBlocksIdle, running } = engine.stats()
          expect(kvBlocksUsed).toBeGreaterThanOrEqual(0)
          expect(kvBlocksUsed + kvBlocksIdle).toBeLessThanOrEqual(kvBlocks)
          expect(running).toBeLessThanOrEqual(5)
          if (engine.idle) expect(kvBlocksUsed).toBe(0)
        }
        const step = () => {
          for (const e of engine.step().emitted) {
            expect(gone.has(e.id)).toBe(false)
            expect(e.first).toBe(!emitted.has(e.id))
            emitted.set(e.id, (emitted.get(e.id) ?? 0) + e.tokens)
            expect(e.finished).toBe(emitted.get(e.id) === wanted.get(e.id))
            if (e.finished) gone.add(e.id)
          }
          check()
        }
        for (const action of actions) {
          if (action.kind === 'submit') {
            const blockHashes = Array.from({ length: action.prompt >> 4 }, (_, i) => action.family * 1000 + i)
            if (engine.submit({ id, promptTokens: action.prompt, outputTokens: action.output, blockHashes }) === 'queued')
              wanted.set(id, action.output)
            id++
          } else if (action.kind === 'abort' && id > 0) {
            const victim = action.pick % id
            if (engine.abort(victim)) gone.add(victim)
          } else step()
          check()
        }
        for (let i = 0; i < 20_000 && !engine.idle; i++) step()
        expect(engine.idle).toBe(true)
        for (const [call, tokens] of wanted) if (emitted.get(call) !== tokens) expect(gone.has(call)).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  test('the same calls give the same steps (I6)', () => {
    const play = () => {
      const engine = createEngine({ profile: profileNamed('v100-llama-2-7b'), kvBlocks: 60 })
      for (let id = 0; id < 40; id++) engine.submit({ id, promptTokens: 10 + ((id * 37) % 200), outputTokens: 5 + ((id * 53) % 90) })
      const steps = []
      while (!engine.idle) steps.push(engine.step())
      return steps
    }
    expect(play()).toEqual(play())
  })

  test('releasing what is not held is an error, not a negative number', () => {
    const kv = new KvBlocks(4)
    kv.take(2)
    expect(() => kv.release(3, [])).toThrow('1 blocks too many')
    expect(() => new KvBlocks(4).release(0, [9])).toThrow('not held')
    expect(() => new KvBlocks(4).hold(9)).toThrow('not cached')
  })
})
