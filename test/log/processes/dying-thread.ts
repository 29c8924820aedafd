/** The real log thread, but in its first life it ends after its first batch is on disk, before it can say so. */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../../../plugin/clock.ts'
import type { FromThread, ThreadData } from '../../../plugin/log/messages.ts'
import { serveLog, type ThreadPort } from '../../../plugin/log/thread.ts'

const port = parentPort
if (port === null) throw new Error('dying-thread.ts is started as a worker thread')
const data = workerData as ThreadData
const mark = join(data.dataDir, 'died-once')
const mortal: ThreadPort = {
  postMessage(message: FromThread) {
    if (message.kind === 'written' && !existsSync(mark)) {
      writeFileSync(mark, '')
      process.exit(1)
    }
    port.postMessage(message)
  },
  on: (event, listen) => port.on(event, listen),
  close: () => port.close(),
}
serveLog({ port: mortal, data, clock: systemClock })
