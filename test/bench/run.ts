import { existsSync, readdirSync } from 'node:fs'
import type { BenchResult } from './harness.ts'

/** `npm run bench -- NAME [options]`: runs test/bench/NAME.ts, prints its table, and as the last line one JSON object. */
const NOT_BENCHES = new Set(['run.ts', 'harness.ts'])
const [name, ...args] = process.argv.slice(2)
const file = new URL(`./${name}.ts`, import.meta.url)

if (!name || !/^[\w-]+$/.test(name) || NOT_BENCHES.has(`${name}.ts`) || !existsSync(file)) {
  const names = readdirSync(new URL('.', import.meta.url)).filter((one) => one.endsWith('.ts') && !NOT_BENCHES.has(one))
  console.error(`${name ? `There is no benchmark "${name}". ` : ''}Benchmarks: ${names.map((one) => one.slice(0, -3)).join(', ')}`)
  process.exitCode = 1
} else {
  // One that exports no `run` does all by itself when imported.
  const { run } = (await import(file.href)) as { run?: (args: readonly string[]) => Promise<BenchResult> }
  if (run) {
    const { rows, bars } = await run(args)
    console.table(rows)
    for (const bar of bars)
      console.log(`${bar.met ? 'met   ' : 'MISSED'} ${bar.name}: ${bar.value.toPrecision(3)} (goal ${bar.goal.toPrecision(3)})`)
    console.log(JSON.stringify({ bench: name, rows, bars }))
  }
}
