/** Migrates the data directory in its first argument as soon as its standard input says so. */
import { once } from 'node:events'
import { systemClock } from '../../../plugin/clock.ts'
import { migrateDataDirectory } from '../../../plugin/log/migrate.ts'

const dataDir = process.argv[2]
if (dataDir === undefined) throw new Error('which data directory?')
console.log('here')
await once(process.stdin, 'data')
migrateDataDirectory({ dataDir, nowUnixMs: systemClock.nowUnixMs() })
process.exit(0)
