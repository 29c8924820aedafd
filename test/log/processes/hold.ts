/** Holds the data directory in its first argument until it is killed or its standard input ends; says `held` or why not. */
import { once } from 'node:events'
import { lockDirectory } from '../../../plugin/log/lock.ts'

const dataDir = process.argv[2]
if (dataDir === undefined) throw new Error('which data directory?')
try {
  lockDirectory({ dataDir, holder: { pid: process.pid, sinceUnixMs: 1_767_225_600_000 } })
  // Who forgets the lock still holds it, even after everything forgotten has been collected.
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
  console.log('held')
} catch (error) {
  console.log(String(error))
}
process.stdin.resume()
await once(process.stdin, 'end')
