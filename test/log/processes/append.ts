/** Appends a call every millisecond to the log in its first argument, and tells each: `callId unixMs`. Runs until it is killed. */
import { systemClock } from '../../../plugin/clock.ts'
import { openLog } from '../../../plugin/log/open.ts'
import { callRow, KEEP_ALL } from '../row.ts'

const dataDir = process.argv[2]
if (dataDir === undefined) throw new Error('which data directory?')
const log = await openLog({ dataDir, clock: systemClock, retention: KEEP_ALL, warn: (text) => console.error(text) })
let number = 0
setInterval(() => {
  const row = callRow(number++, { arrivedUnixMs: systemClock.nowUnixMs() })
  log.append(row)
  log.append({ kind: 'counter', name: 'test.appended', by: 1, atUnixMs: row.call.arrivedUnixMs })
  process.stdout.write(`${row.call.callId} ${systemClock.nowUnixMs()}\n`)
}, 1)
