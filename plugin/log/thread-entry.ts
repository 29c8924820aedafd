import { parentPort, workerData } from 'node:worker_threads'
import { systemClock } from '../clock.ts'
import type { ThreadData } from './messages.ts'
import { serveLog } from './thread.ts'

if (parentPort === null) throw new Error('thread-entry.ts is started by open.ts as a worker thread')
serveLog({ port: parentPort, data: workerData as ThreadData, clock: systemClock })
